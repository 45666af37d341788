#!/bin/bash
# What one CUDA GPU gives in nine minutes, without a network: the GPU tests, weights of the gpu/ recipes, the seconds to
# 99 % on MNIST, images per second. Each result is in FOLDER as soon as it is there, in at most 8 files of 16 MiB.
#
#   benchmarks/gpu.sh FOLDER [RECIPE ...]    default: gpu/<network>-fashion_mnist of the five large networks
#
# It needs a python3 with the packages of pyproject.toml (torch 2.11 is enough). JOBS trainings share the GPU (default 5).
set -uo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."
recipes=("$@")
[ $# -gt 0 ] || recipes=(gpu/{vgg11,resnet18,alexnet,densenet,googlenet}-fashion_mnist)
export PYTHONUNBUFFERED=1
touch "$out/begun"

step() { # NAME SECONDS COMMAND...: run the command for so many seconds at most, then collect what there is
  local name=$1 seconds=$2
  shift 2
  echo "$name: $*" | tee -a "$out/log"
  SECONDS=0
  timeout --signal=INT --kill-after=15 "$seconds" "$@" 2>&1 | tee -a "$out/log"
  echo "$name: status ${PIPESTATUS[0]} after $SECONDS s" | tee -a "$out/log"
  collect
}

collect() { # large weights one by one, everything else that is new in one archive
  local new=(find weights runs benchmarks/results -newer "$out/begun" -type f -not -path "*/checkpoints/*")
  "${new[@]}" -name "*.safetensors" -path "weights/*" -size +2M -exec cp -u {} "$out" \;
  "${new[@]}" -not -name "*.safetensors" -print0 > "$out/.names"
  "${new[@]}" -name "*.safetensors" -path "weights/*" -size -2M -print0 >> "$out/.names"
  tar --null --files-from="$out/.names" -czf "$out/.new.tar.gz" 2>> "$out/log" && mv "$out/.new.tar.gz" "$out/new.tar.gz"
  rm -f "$out/.names"
}

mkdir -p runs
step tests 100 python3 -m pytest -m gpu -n 4 -o filterwarnings=default
step weights 310 python3 publish.py "${recipes[@]}" --seeds 1 --jobs "${JOBS:-5}"
step seconds_to_99 60 python3 train.py -m recipe=fast-mnist compile=true report=false "seed=range(1,31)"
step images_per_second 60 python3 -m benchmarks.throughput --brief --settings compile=true --turns 1 --seconds 0.3 \
  --models lenet resnet18 densenet vgg11 googlenet --save gpu
