"""Test weights files: one gives back its network, or one clear WeightsError."""

import json
import pickle
import re
import sys
from pathlib import Path

import pytest
import torch
from conftest import CARD
from safetensors import safe_open
from safetensors.torch import save, save_file
from torch import Tensor, nn

import models
from models import WeightsError, cards
from models.weights import STORAGE, serialize

SIZES = {"image_size": 28, "in_channels": 1, "num_classes": 10}
FIGURES = {"loss": 1.0, "accuracy": 0.5, "images": 9}
PUBLISHED = CARD | {"metrics": {"test": FIGURES, "quick": FIGURES}, "parameters": 203_530, "name": "mlp-mnist"}
ARGUMENTS = {"image_size": 28, "activation": "relu", "padding": 2}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(serialize(models.create("lenet", **ARGUMENTS), "lenet", ARGUMENTS, CARD))
    return path


def tamper(file: Path, change, reseal: bool) -> None:
    """Change a file's card and tensors in place; with `reseal`, compute its SHA-256 anew."""
    with safe_open(file, framework="pt") as opened:
        card = json.loads(opened.metadata()["refzoo"])
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    change(card, tensors)
    if reseal:
        card.pop("sha256", None)
        card = cards.seal(card, save(tensors))
    save_file(tensors, file, {"refzoo": json.dumps(card)})


def test_loaded_network_equals_the_stored_one(file: Path) -> None:
    torch.manual_seed(0)
    network = models.create("lenet", **ARGUMENTS).eval()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    loaded = models.load(file)
    assert torch.equal(state, torch.get_rng_state())  # no random numbers for weights that are replaced
    images = torch.randn(3, 1, 28, 28)
    assert torch.equal(loaded(images), network(images))
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert torch.equal(models.load(file.parent)(images), network(images))  # the run folder


def test_card_holds_every_argument(file: Path) -> None:
    card = models.card(file)
    assert card["network"] == "lenet"
    assert card["data"] == "mnist"
    assert card["arguments"] == models.defaults("lenet") | ARGUMENTS


def test_same_network_gives_the_same_bytes() -> None:
    network = models.create("lenet")
    assert len({serialize(network, "lenet", {}, {"b": 1, "a": [2]}) for _ in range(8)}) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda card, tensors: tensors["c1.0.weight"].view(-1)[0].add_(1), "is damaged: its SHA-256"),
        (lambda card, tensors: card.update(data="fashion_mnist"), "is damaged: its SHA-256"),
        (lambda card, tensors: card.pop("sha256"), "is damaged: its SHA-256"),
    ],
)
def test_change_of_card_or_tensors_is_refused(file: Path, change, says: str) -> None:
    tamper(file, change, reseal=False)
    with pytest.raises(WeightsError, match=says):
        models.load(file)
    with pytest.raises(WeightsError, match=says):
        models.card(file)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda card, tensors: card.update(network="os"), "holds a network 'os', which is none of"),
        (lambda card, tensors: card.update(network="mlp"), "cannot be built: mlp has no argument"),
        (lambda card, tensors: card.update(network="mlp", arguments=SIZES), "lacks hidden.0.0.bias and 1 more"),
        (lambda card, tensors: card.update(network="gru", arguments=SIZES | {"num_layers": None}), "cannot be built"),
        (lambda card, tensors: card["arguments"].update(foo=1), "cannot be built: lenet has no argument 'foo'"),
        (lambda card, tensors: card["arguments"].update(activation="step"), "activation must be one of"),
        (lambda card, tensors: card["arguments"].update(num_classes=10**9), r"output.*is \[10.*expected \[10000"),
        (lambda card, tensors: card["arguments"].update(num_classes="ten"), "impossible arguments"),
        (lambda card, tensors: card["arguments"].update(image_size=[28, 0]), "impossible arguments"),
        (lambda card, tensors: card["arguments"].update(image_size=[28]), "impossible arguments"),
        (lambda card, tensors: card["arguments"].update(image_size=[28, 30]), "LeNet reads .*, got 28 x 30"),
        (lambda card, tensors: card.update(arguments=[1]), r"whose arguments is \[1\]"),
        (lambda card, tensors: card.pop("classes"), "whose classes is None"),
        (lambda card, tensors: card["arguments"].update(num_classes=9), r"output.*is \[10.*expected \[9"),
        (lambda card, tensors: tensors.pop("output.bias"), "lacks output.bias"),
        (lambda card, tensors: tensors.update(extra=torch.zeros(1)), "holds extra, which lenet does not have"),
        (lambda card, tensors: tensors["c1.0.weight"].view(-1)[0].fill_(float("nan")), "c1.0.weight holds .* finite"),
        (lambda card, tensors: tensors.update({"output.bias": torch.zeros(10).long()}), "output.bias is .* expected"),
    ],
)
def test_card_and_tensors_that_do_not_fit_are_refused(file: Path, change, says: str) -> None:
    tamper(file, change, reseal=True)
    with pytest.raises(WeightsError, match=says):
        models.load(file)


class Tiny(nn.Module):
    """A network of a user's own. Its constructor draws random numbers and reads the value of a tensor."""

    def __init__(self, image_size: tuple[int, int], in_channels: int, num_classes: int = 10, width: int = 4) -> None:
        super().__init__()
        self.scale = torch.full((1,), 2.0).item()
        self.convolution = nn.Conv2d(in_channels, width, kernel_size=3)
        self.output = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.output(self.scale * self.convolution(images).mean(dim=(2, 3)))


@pytest.fixture
def own_file(file: Path) -> Path:
    arguments = {"image_size": [9, 8], "in_channels": 2, "width": 3}
    file.write_bytes(serialize(Tiny(**arguments), "my_networks.Tiny", arguments, CARD))
    return file


def test_own_network_is_loaded_by_its_class(own_file: Path) -> None:
    card = models.card(own_file)
    assert card["network"] == "my_networks.Tiny"
    assert card["arguments"] == {"image_size": [9, 8], "in_channels": 2, "num_classes": 10, "width": 3}
    torch.manual_seed(7)
    state = torch.get_rng_state()
    network = models.load(own_file, network=Tiny)
    assert torch.equal(state, torch.get_rng_state())
    assert isinstance(network, Tiny)
    assert not network.training
    with safe_open(own_file, framework="pt") as opened:
        assert all(torch.equal(opened.get_tensor(key), tensor) for key, tensor in network.state_dict().items())
    assert network(torch.zeros(2, 2, 9, 8)).shape == (2, 10)


@pytest.mark.parametrize("name", ["my_networks.Tiny", "os.system", "this.Tiny", "test_weights.Tiny", ".."])
def test_own_network_without_its_class_is_refused_and_not_imported(own_file: Path, name: str) -> None:
    tamper(own_file, lambda card, tensors: card.update(network=name), reseal=True)
    before = set(sys.modules)
    says = f"holds {name}, a network of your own: load it by models.load(source, network={name.rpartition('.')[2]})."
    with pytest.raises(WeightsError, match=re.escape(says) + "$"):
        models.load(own_file)
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda card, tensors: card["arguments"].update(foo=1), "cannot be built: .*unexpected keyword argument 'foo'"),
        (lambda card, tensors: card["arguments"].update(width=5), "convolution.bias is .*, expected|weight is .*, exp"),
        (lambda card, tensors: tensors.pop("output.bias"), "lacks output.bias, which my_networks.Tiny has"),
        (lambda card, tensors: card["arguments"].pop("in_channels"), "impossible arguments"),
    ],
)
def test_own_network_that_does_not_fit_is_refused(own_file: Path, change, says: str) -> None:
    tamper(own_file, change, reseal=True)
    with pytest.raises(WeightsError, match=says):
        models.load(own_file, network=Tiny)


def test_weights_for_images_that_are_not_square_give_back_their_network(file: Path) -> None:
    arguments = {"image_size": (48, 32)}
    network = models.create("softmax_regression", **arguments).eval()
    file.write_bytes(serialize(network, "softmax_regression", arguments, CARD))
    assert models.card(file)["arguments"]["image_size"] == [48, 32]
    images = torch.randn(2, 1, 48, 32)
    assert torch.equal(models.load(file)(images), network(images))


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Publish `mlp-mnist`, a file and the copy of its card, in a temporary folder."""
    folder = tmp_path / "published"
    folder.mkdir()
    monkeypatch.setattr(cards, "PUBLISHED", folder)
    torch.manual_seed(0)
    content = serialize(models.create("mlp"), "mlp", {}, PUBLISHED, storage="float16")
    file = cards.parse(folder / "mlp-mnist.safetensors", content)
    file.path.write_bytes(content)
    file.path.with_suffix(".json").write_text(json.dumps(cards.beside_file(file)))
    return folder


def test_published_weights_are_loaded_by_name(published: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, images = models.create("mlp").eval(), torch.randn(2, 1, 28, 28)
    for source in ("mlp-mnist", published / "mlp-mnist.safetensors"):
        torch.testing.assert_close(models.load(source)(images), network(images), atol=2e-3, rtol=0)
        assert models.card(source)["network"] == "mlp"
    with pytest.raises(WeightsError, match=r"no published weights 'mlp-mnits', .*, did you mean 'mlp-mnist'"):
        models.load("mlp-mnits")


def copy_pair(name: str, into: str, folder: Path) -> None:
    for suffix in (".safetensors", ".json"):
        (folder / f"{into}{suffix}").write_bytes((folder / f"{name}{suffix}").read_bytes())


def test_renamed_pair_is_refused(published: Path) -> None:
    copy_pair("mlp-mnist", "lenet-mnist", published)
    assert cards.published() == ["mlp-mnist", "lenet-mnist"]
    for source in ("lenet-mnist", published / "lenet-mnist.safetensors"):
        with pytest.raises(WeightsError, match=r"lenet-mnist.safetensors holds the weights mlp-mnist: it was renamed"):
            models.load(source)
    models.load("mlp-mnist")


@pytest.mark.parametrize("half", [".json", ".safetensors"])
def test_file_without_card_and_card_without_file_are_refused(published: Path, half: str) -> None:
    (published / f"mlp-mnist{half}").unlink()
    (published / "._mlp-mnist.json").write_text("of another system's file manager")
    assert cards.published() == ["mlp-mnist"]
    with pytest.raises(WeightsError, match=rf"mlp-mnist{half} (is not a card|cannot be read)"):
        models.load("mlp-mnist")


def test_links_to_published_weights_are_checked_too(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link.safetensors").symlink_to(published / "mlp-mnist.safetensors")
    models.load(tmp_path / "link.safetensors")
    (tmp_path / "weights").symlink_to(published)
    monkeypatch.setattr(cards, "PUBLISHED", tmp_path / "weights")
    models.load("mlp-mnist")
    other = tmp_path / "other.safetensors"
    other.write_bytes(serialize(models.create("mlp"), "mlp", {}, PUBLISHED, storage="float16"))
    models.load(other)
    for linked in (False, True):
        (published / "mlp-mnist.safetensors").unlink()
        if linked:
            (published / "mlp-mnist.safetensors").symlink_to(other)
        else:
            (published / "mlp-mnist.safetensors").write_bytes(other.read_bytes())
        with pytest.raises(WeightsError, match="is damaged: its sha256 is"):
            models.load("mlp-mnist")


def test_published_name_comes_before_a_folder_of_that_name(
    published: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = published.parent / "mlp-mnist"
    run.mkdir()
    (run / "weights.safetensors").write_bytes(file.read_bytes())
    monkeypatch.chdir(published.parent)
    assert models.card("mlp-mnist")["network"] == models.card(Path("mlp-mnist"))["network"] == "mlp"
    assert models.card("./mlp-mnist")["network"] == "lenet"


def test_damaged_file_or_card_is_refused_even_if_it_was_read_before(published: Path) -> None:
    models.load("mlp-mnist")
    file, card = published / "mlp-mnist.safetensors", published / "mlp-mnist.json"
    whole, stated = file.read_bytes(), json.loads(card.read_text())
    other = serialize(models.create("mlp"), "mlp", {}, PUBLISHED, storage="float16")
    file.write_bytes(other)  # undamaged, but not the file of the card
    for read in (models.load, models.card):
        with pytest.raises(WeightsError, match=r"is damaged: its sha256 is .*, its card says"):
            read("mlp-mnist")
        with pytest.raises(WeightsError, match=r"is damaged: its sha256 is .*, its card says"):
            read(file)
    file.write_bytes(whole + b" ")
    with pytest.raises(WeightsError, match=r"is damaged: its size is \d+, its card says \d+"):
        models.load("mlp-mnist")
    file.write_bytes(whole)
    for wrong in (stated | {"data": "fashion_mnist"}, stated | {"file": {}}, {}, []):
        card.write_text(json.dumps(wrong))
        with pytest.raises(
            WeightsError, match=r"mlp-mnist.json is (damaged: it is not the card|not a card)|a card whose"
        ):
            models.load("mlp-mnist")
    card.write_text(json.dumps(stated))
    models.load("mlp-mnist")


@pytest.mark.parametrize(("name", "arguments"), [("gru", {}), ("resnet18", {"image_size": 28})])
@pytest.mark.parametrize("storage", STORAGE)
def test_storage_rounds_as_documented(name: str, arguments: dict[str, int], storage: str, file: Path) -> None:
    """Expect numpy's own 16-bit floats, and for int8 an error of at most half a step of the channel."""
    network = models.create(name, **arguments)
    file.write_bytes(serialize(network, name, arguments, CARD, storage=storage))
    assert models.card(file)["storage"] == storage
    loaded = models.load(file).state_dict()
    size, matrices = file.stat().st_size, sum(p.numel() for p in network.parameters() if p.dim() > 1)
    assert size == pytest.approx({"float32": 4, "float16": 2, "int8": 1}[storage] * matrices, rel=0.15)
    for key, tensor in network.state_dict().items():
        was, now = tensor.numpy(), loaded[key].numpy()
        assert was.dtype == now.dtype
        if storage == "float32" or was.ndim < 2:
            assert (was == now).all()
        elif storage == "float16":
            assert (was.astype("float16").astype("float32") == now).all()
        else:
            largest = abs(was).reshape(len(was), -1).max(axis=1).reshape(-1, *[1] * (was.ndim - 1))
            assert (abs(was - now) <= largest / 127 * 0.50001).all()
            assert now[0].size < 100 or len({*now[0].ravel().round(7)}) > 20


def test_channel_of_zeros_is_stored_as_int8(file: Path) -> None:
    network = models.create("softmax_regression")
    torch.nn.init.zeros_(network.output.weight)  # type: ignore[union-attr]
    file.write_bytes(serialize(network, "softmax_regression", {}, CARD, storage="int8"))
    assert not models.load(file).state_dict()["output.weight"].any()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tensors: tensors.pop("output.weight.scale"), "lacks output.weight.scale"),
        (lambda tensors: tensors.update({"output.weight.scale": torch.ones(9)}), "output.weight.scale is not one"),
        (lambda tensors: tensors["output.weight.scale"].fill_(float("inf")), "output.weight holds .* not finite"),
        (lambda tensors: tensors.update({"output.bias": torch.ones(10).half()}), "output.bias is .* expected"),
        (lambda tensors: tensors.update({"output.bias.scale": torch.ones(10)}), "holds output.bias.scale, which"),
    ],
)
def test_scales_that_do_not_fit_are_refused(file: Path, change, says: str) -> None:
    file.write_bytes(serialize(models.create("softmax_regression"), "softmax_regression", {}, CARD, storage="int8"))
    tamper(file, lambda card, tensors: change(tensors), reseal=True)
    with pytest.raises(WeightsError, match=says):
        models.load(file)


def test_loaded_network_does_not_depend_on_its_file(file: Path) -> None:
    network, images = models.load(file), torch.randn(1, 1, 28, 28)
    before = network(images)
    file.write_bytes(b"")
    assert torch.equal(network(images), before)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", bytes(100), b"\xff" * 100, pickle.dumps({"a": 1}), (1 << 40).to_bytes(8, "little") + b"{}"],
)
def test_file_of_another_format_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"not a readable safetensors file|its header says 10995116277"):
        models.load(file)


def test_truncated_flipped_and_longer_files_are_refused(file: Path) -> None:
    whole = file.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for position in torch.randint(0, len(whole), (100,), generator=generator).tolist():
        for damaged in (whole[:position], whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :]):
            file.write_bytes(damaged)
            with pytest.raises(WeightsError):
                models.load(file)
    file.write_bytes(whole + b"\0")
    with pytest.raises(WeightsError):
        models.load(file)


def test_missing_file_and_missing_card_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there are no weights at"):
        models.load(tmp_path / "nothing")
    with pytest.raises(WeightsError, match="there are no weights at"):
        models.load(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsError, match="has no card"):
        models.load(tmp_path / "foreign.safetensors")
