"""The pipeline that Restorer runs: strict devices, real sizes on no device at all, its options."""

import pytest
import torch

from osdface.deploy import cuda_graphs
from osdface.deploy.cuda_graphs import GraphedCall
from osdface.deploy.pipeline import RestorationPipeline
from osdface.devices import usable_device, without_autocast
from osdface.errors import UserError
from osdface.networks.autoencoder import VQConfig
from osdface.networks.base import build_base
from osdface.networks.embedder import PromptConvs, VisualPrompt, VisualRepresentationEmbedder
from osdface.networks.generator import OneStepGenerator
from osdface.networks.lora import merge_lora
from osdface.networks.prompts import KINDS, build_prompt_source
from osdface.restorer import Restorer
from tests.osdface.deploy.strict_device import Refused, StrictDevice

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def generator(tiny_generator) -> OneStepGenerator:
    merge_lora(tiny_generator.unet)
    return tiny_generator


def test_the_strict_device_refuses() -> None:
    for refused in (
        lambda: torch.ones(1).item(),
        lambda: torch.ones(1, dtype=torch.float64) + 1,
        lambda: torch.tensor([3]),
        lambda: torch.ones(3).nonzero(),
    ):
        with pytest.raises(Refused), StrictDevice():
            refused()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_no_float64_and_no_wait_for_the_host(kind, dtype, generator) -> None:
    embedder, text = generator.prompt_source.embedder, torch.ones(4, 12)
    source = build_prompt_source(kind, 12, embedder, hidden_dim=8, heads=2, text=text)
    generator.prompt_source = source
    pipeline = RestorationPipeline(generator, dtype)
    with torch.no_grad():
        expected = pipeline(IMAGES)
        with StrictDevice():
            found = pipeline.image(IMAGES, pipeline.entries(IMAGES, together=False))
    assert found.dtype == torch.float32 and found.abs().max() <= 1
    torch.testing.assert_close(
        found, expected, atol=1e-4 if dtype == torch.float32 else 0.1, rtol=0
    )


def test_the_papers_size_runs_on_the_meta_device() -> None:
    """There every look at a value is an error; nothing is computed and no memory taken."""
    with torch.device("meta"):
        embedder = VisualRepresentationEmbedder(VQConfig())
        source = VisualPrompt(embedder, PromptConvs())
        generator = OneStepGenerator(build_base(), source)
    pipeline = RestorationPipeline(generator, torch.bfloat16)
    images = torch.empty(2, 3, 512, 512, device="meta")
    with torch.no_grad():
        generator.alphas_cumprod = generator.alphas_cumprod.to("meta")
        assert pipeline.entries(images).shape == (2, 77, 512)
        assert pipeline(images).shape == images.shape


def test_a_fast_restorer_gives_the_same(generator) -> None:
    exact = Restorer(generator, 16, "cpu").restore(IMAGES)
    fast = Restorer(generator, 16, "cpu", exact=False).restore(IMAGES)
    torch.testing.assert_close(fast.images, exact.images, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_compiled_restorer_gives_the_same(generator) -> None:
    plain = Restorer(generator, 16, "cpu").restore(IMAGES)
    compiled = Restorer(generator, 16, "cpu", compile=True)
    for count in (2, 1):
        found = compiled.restore(IMAGES[:count])
        assert torch.equal(found.tokens, plain.tokens[:count])
        torch.testing.assert_close(found.images, plain.images[:count], atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_missing_compiler_is_one_sentence(generator, monkeypatch) -> None:
    import torch._inductor.config as config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(config, "force_disable_caches", True)
    torch._dynamo.reset()
    with pytest.raises(UserError, match="compile=true failed here") as error:
        Restorer(generator, 16, "cpu", compile=True).restore(IMAGES)
    assert "\n" not in str(error.value)


def test_cuda_graphs_want_cuda(generator) -> None:
    with pytest.raises(UserError, match="need a CUDA device, not cpu"):
        Restorer(generator, 16, "cpu", cuda_graphs=True)


class _Stream:
    def wait_stream(self, _other: object) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class _Cuda:
    """Records as CUDA does: a graph redoes its work in the memory that it was captured with."""

    def __init__(self) -> None:
        self.graphs: list[_Graph] = []
        self.pools: set[object] = set()

    def device(self, _device: object) -> _Stream:
        return _Stream()

    def stream(self, _stream: object) -> _Stream:
        return _Stream()

    Stream = current_stream = lambda self: _Stream()

    def graph_pool_handle(self) -> object:
        return object()

    def CUDAGraph(self) -> "_Graph":
        self.graphs.append(_Graph())
        return self.graphs[-1]

    def graph(self, _graph: object, pool: object, stream: object) -> _Stream:
        self.pools.add(pool)
        return _Stream()


class _Graph:
    def __init__(self) -> None:
        self.replays = 0
        self.work = lambda: None

    def replay(self) -> None:
        self.replays += 1
        self.work()


def test_graphs_are_captured_once_a_shape_and_results_are_the_callers_own(monkeypatch) -> None:
    fake, calls = _Cuda(), []
    monkeypatch.setattr(cuda_graphs.torch, "cuda", fake)

    def call(images: torch.Tensor) -> tuple[torch.Tensor, None]:
        found = images * 2
        calls.append(images)
        if fake.graphs:
            fake.graphs[-1].work = lambda: found.copy_(images * 2)
        return found, None

    graphed = GraphedCall(call, torch.device("cuda:1"))
    first, nothing = graphed(torch.ones(2, 3))
    assert nothing is None and torch.equal(first, torch.full((2, 3), 2.0))
    times = len(calls)
    second, _ = graphed(torch.full((2, 3), 5.0))
    assert torch.equal(second, torch.full((2, 3), 10.0)) and torch.equal(first, second / 5)
    assert len(calls) == times  # replayed, not called
    graphed(torch.ones(1, 3))
    assert len(fake.graphs) == 2 and len(fake.pools) == 1
    assert [graph.replays for graph in fake.graphs] == [2, 1]


@pytest.mark.parametrize(
    ("device", "dtype", "expected"),
    [
        ("cupa", torch.float32, "There is no device cupa"),
        ("cuda:99", torch.float32, "There is no device cuda:99"),
        ("cpu", torch.int64, "compute in floats"),
    ],
)
def test_a_device_that_is_not_there_is_one_sentence(device, dtype, expected) -> None:
    with pytest.raises(UserError, match=expected) as error:
        usable_device(device, dtype)
    assert "\n" not in str(error.value)


def test_a_device_without_such_numbers_is_one_sentence(monkeypatch) -> None:
    """As MPS says it of float64."""
    zeros = torch.zeros

    def without_float64(*size: int, device: object = None, dtype: object = None) -> torch.Tensor:
        if dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return zeros(*size, dtype=dtype)

    monkeypatch.setattr(torch, "zeros", without_float64)
    with pytest.raises(UserError, match=r"does not compute in torch\.float64"):
        usable_device("mps", torch.float64)
    assert usable_device("mps", torch.float16) == torch.device("mps")


def test_autocast_is_switched_off_where_there_is_any() -> None:
    a = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
        with without_autocast(torch.device("cpu")):
            assert (a @ a).dtype == torch.float32
    with without_autocast(torch.device("meta")):
        pass
