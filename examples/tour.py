"""Tour the zoo in ten minutes: load networks, look inside them, find their mistakes, compare two, fine-tune one."""

# %% [markdown]
# # A tour of the zoo
# Each cell uses one part of the zoo. `--quick` looks at 1,000 test images and fine-tunes on 500; without it the tour
# looks at all 10,000 and fine-tunes on 5,000.

# %%
from start import ROOT, read_flags

options = read_flags("tour", __doc__)

import json
import subprocess
import sys

import matplotlib.pyplot as plt
import torch
from rich import print
from torchvision.models.feature_extraction import create_feature_extractor

import data
import models
from inspection import networks
from inspection.mistakes import find_mistakes
from inspection.occlusion import occlusion_map
from inspection.stages import first_weights

looked_at = 1_000 if options.size == "quick" else 10_000


# %% [markdown]
# ## Load a trained network
# `models.load` returns a plain `nn.Module` in evaluation mode, `models.card` says what it reads and how good it is.
# Images are standardised with the mean and the standard deviation of its training images.

# %%
lenet = models.load("lenet_relu-mnist")
card = models.card("lenet_relu-mnist")
test = data.load("mnist", test_size=looked_at).test  # images: uint8 (N, 1, 28, 28)


def standardised(images: torch.Tensor) -> torch.Tensor:
    """Return uint8 images (N, 1, 28, 28) as the network reads them."""
    return (images / 255 - card["input"]["mean"]) / card["input"]["std"]


with torch.inference_mode():
    accuracy = (lenet(standardised(test.images)).argmax(dim=1) == test.labels).double().mean().item()
print(f"{accuracy:.4f} of {looked_at} test images; its card says {card['metrics']['test']['accuracy']:.4f} of all")

# %% [markdown]
# ## The filters of the first layer
# LeNet's C1 has six filters of 5 x 5 weights: red is positive, blue negative. The maps below show what each answers to.

# %%
trained = networks.load("lenet_relu-mnist")
filters = first_weights(trained)
assert filters is not None
figure, axes = plt.subplots(1, 6, figsize=(7, 1.5), layout="constrained")
for axis, weights in zip(axes, filters[:, 0], strict=True):
    axis.imshow(weights.numpy(), cmap="RdBu_r", vmin=-float(filters.abs().max()), vmax=float(filters.abs().max()))
    axis.axis("off")
options.save(figure, "filters")

# %% [markdown]
# ## Feature maps
# The stages of a network have the names of its paper; torchvision's `create_feature_extractor` returns their outputs.

# %%
stages = ["c1", "s2", "c3", "s4"]
with torch.inference_mode():
    maps = create_feature_extractor(lenet, stages)(standardised(test.images[:1]))
figure, axes = plt.subplots(len(stages), 6, figsize=(7, 5), layout="constrained")
for row, stage in zip(axes, stages, strict=True):
    for axis, each in zip(row, maps[stage][0], strict=False):  # c3 and s4 have 16 maps: the first six
        axis.imshow(each.numpy(), cmap="gray")
        axis.set(xticks=[], yticks=[])
    row[0].set_ylabel(stage)
options.save(figure, "feature_maps")

# %% [markdown]
# ## The most confident mistakes
# What a network gets wrong with the highest probability says most about it, and about the labels.

# %%
*_, (_, mistakes) = find_mistakes(trained, test)
print(f"{len(mistakes)} of {looked_at} are wrong")
figure, axes = plt.subplots(1, 6, figsize=(7, 1.7), layout="constrained")
for axis, mistake in zip(axes, mistakes, strict=False):
    axis.imshow(test.images[mistake.index, 0].numpy(), cmap="gray")
    axis.set_title(f"{mistake.answer} ({100 * mistake.probability:.0f} %)\nlabel {mistake.label}", fontsize=8)
for axis in axes:
    axis.axis("off")
options.save(figure, "mistakes")

# %% [markdown]
# ## An occlusion map
# Cover the image part by part: where the probability of the answer falls, the network has read it (Zeiler and Fergus,
# 2014).

# %%
image = test.images[:1]
label = int(trained.probabilities(image).argmax())
falls = occlusion_map(trained, image, label, stride=1)
figure, axes = plt.subplots(1, 2, figsize=(5, 2.4), layout="constrained")
axes[0].imshow(image[0, 0].numpy(), cmap="gray")
drawn = axes[1].imshow(falls.numpy(), cmap="RdBu_r", vmin=-float(falls.abs().max()), vmax=float(falls.abs().max()))
figure.colorbar(drawn, label=f"fall of the probability of {label}")
for axis in axes:
    axis.axis("off")
options.save(figure, "occlusion")

# %% [markdown]
# ## Two networks on the same digits
# Two networks of about the same accuracy need not err on the same images. If their errors were independent, the share
# of images on which both err would be the product of their shares.

# %%
gru = networks.load("gru-mnist")
wrong = {
    each.name: torch.cat([each.probabilities(part).argmax(dim=1) for part in test.images.split(500)]) != test.labels
    for each in (trained, gru)
}
both = wrong[trained.name] & wrong[gru.name]
independent = looked_at * wrong[trained.name].double().mean() * wrong[gru.name].double().mean()
for name, each in wrong.items():
    print(f"{name} is wrong on {int(each.sum())} of {looked_at}")
print(f"both on {int(both.sum())}; if their errors were independent, on {independent:.1f}")

# %% [markdown]
# ## Fine-tune on the other data set
# `weights=` starts a run from trained weights. The run is a usual one: its folder has the weights, the history and a
# report.

# %%
size = 500 if options.size == "quick" else 5_000
run = options.folder / f"fine_tuned_on_{size}"
overrides = [f"data.train_size={size}", "epochs=3", "model.activation=relu", "batch_size=50", f"run_dir={run}"]
if not (run / "weights.safetensors").exists():  # a run folder is never overwritten
    subprocess.run(
        [sys.executable, ROOT / "train.py", "weights=lenet_relu-mnist", "data=fashion_mnist", *overrides], check=True
    )
metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
print(f"fine-tuned on {size} garments: test accuracy {metrics['test']['accuracy']:.4f}; report: {run / 'report.html'}")
