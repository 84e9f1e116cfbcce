import io
from dataclasses import replace

import pytest
import torch

from clr.policies import OneCycle, OneCycleMomentum, Triangular2
from clr.training import RunConfig, Training, data, graph, loop

DIGITS = data.load("digits")
SHORT = RunConfig(
    Triangular2(0.01, 0.1, 7), 30, model="resnet8", weight_decay=1e-4, test_every=8
)
LARGE = replace(SHORT, batch_size=200, ghost_batch=50, flip=True, subtract_mean=False)
CYCLE = replace(
    SHORT, policy=OneCycle(0.01, 0.1, 12), momentum_policy=OneCycleMomentum(0.8, 0.95, 12)
)
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """The update as it is on a GPU, where a recording is what was recorded, done again."""
    monkeypatch.setattr(loop, "GRAPHED_ON", ("cpu", "meta"))
    monkeypatch.setattr(graph, "capture", lambda function: function)
    monkeypatch.setattr(graph.Graphed, "_aside", lambda self, inputs: self.function(*inputs))


@pytest.mark.parametrize("config", [SHORT, LARGE, replace(SHORT, optimizer="nesterov"), CYCLE])
def test_an_update_that_is_replayed_is_the_plain_one(config, as_on_a_gpu, monkeypatch):
    graphed = Training(config, DIGITS).run()
    assert graphed._update.calls == config.iterations and graphed._update.replay is not None
    assert isinstance(graphed.optimizer.param_groups[0]["lr"], torch.Tensor)
    monkeypatch.setattr(loop, "GRAPHED_ON", ())
    plain = Training(config, DIGITS).run()
    assert isinstance(plain.optimizer.param_groups[0]["lr"], float)
    assert plain.history.equals(graphed.history)


def test_each_replay_has_a_result_of_its_own(monkeypatch):
    def capture(function):  # as a GPU does: the same memory at each replay
        function.__self__._body()
        kept = function.__self__.result

        def replay():
            function()
            kept.copy_(function.__self__.result)
            function.__self__.result = kept

        return replay

    monkeypatch.setattr(graph, "capture", capture)
    monkeypatch.setattr(graph.Graphed, "_aside", lambda self, inputs: self.function(*inputs))
    double = graph.Graphed(lambda x: 2 * x)
    given = [torch.tensor(float(i)) for i in range(7)]
    results = [double(x) for x in given]
    assert [r.item() for r in results] == [0, 2, 4, 6, 8, 10, 12]
    assert [x.item() for x in given] == list(range(7))


def test_a_continued_run_records_its_graph_anew(as_on_a_gpu):
    whole = Training(CYCLE, DIGITS).run()
    first = Training(CYCLE, DIGITS)
    first.record()
    for _ in range(10):
        first.step()
    other = Training(CYCLE, DIGITS)
    for _ in range(6):  # it has recorded, for weights and rates that the state replaces
        other.step()
    other.load_state_dict(first.state_dict())
    other.run()
    assert other._update.calls == 20
    assert other.history["test_loss"].iloc[-1] == whole.history["test_loss"].iloc[-1]


@pytest.mark.parametrize(
    "model", ["cifar10_full", "cifar10_full_sigmoid_bn", "lenet", "resnet8"]
)
@pytest.mark.parametrize("config", [SHORT, LARGE, CYCLE], ids=["short", "large", "cycle"])
def test_a_step_reads_nothing_back(model, config, as_on_a_gpu):
    """On "meta", where tensors have no values, `item` and whatever else would wait raises."""
    images = torch.zeros(400, 1, 28, 28, dtype=torch.uint8)
    many = data.Dataset("m", ("a", "b"), images, torch.zeros(400).long(), images, images[:, 0])
    running = Training(replace(config, model=model), many, "meta")
    for _ in range(6):
        running.step()
    assert running._update.replay is not None and running.losses[-1].is_meta
    with pytest.raises((RuntimeError, NotImplementedError)):
        running.losses[-1].item()


@on_a_gpu
@pytest.mark.parametrize("model", ["cifar10_full", "resnet8"])
def test_gpu_and_cpu_agree_for_100_iterations(model):
    config = replace(SHORT, model=model, policy=Triangular2(0.001, 0.005, 50), iterations=100)
    here, there = (Training(config, DIGITS, device).run() for device in ("cpu", "cuda"))
    ours, theirs = here.history, there.history
    assert theirs["lr"].equals(ours["lr"])
    for column in ("train_loss", "test_loss"):
        assert theirs[column].to_numpy() == pytest.approx(ours[column], rel=0.05, nan_ok=True)


@on_a_gpu
def test_gpu_graph_is_the_plain_update(monkeypatch):
    # with the rates of LARGE, two runs differ by more: kernels add up in varying order
    config = replace(LARGE, policy=Triangular2(0.001, 0.005, 7))
    torch.backends.cudnn.allow_tf32, before = False, torch.backends.cudnn.allow_tf32
    try:
        graphed = Training(config, DIGITS, "cuda").run()
        monkeypatch.setattr(loop, "GRAPHED_ON", ())
        plain = Training(config, DIGITS, "cuda").run()
    finally:
        torch.backends.cudnn.allow_tf32 = before
    for column in ("lr", "test_loss"):
        ours, theirs = graphed.history[column].to_numpy(), plain.history[column].to_numpy()
        assert ours == pytest.approx(theirs, rel=0.02)


@on_a_gpu
def test_gpu_does_not_wait_within_steps():
    running = Training(SHORT, DIGITS, "cuda")
    for _ in range(5):
        running.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            running.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@on_a_gpu
def test_gpu_goes_on_where_a_checkpoint_was_taken():
    first = Training(CYCLE, DIGITS, "cuda")
    first.record()
    for _ in range(10):
        first.step()
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    other = Training(CYCLE, DIGITS, "cuda")
    other.load_state_dict(torch.load(file, map_location="cuda", weights_only=True))
    ours, theirs = (each.run().history["test_loss"].to_numpy() for each in (first, other))
    assert ours == pytest.approx(theirs, rel=0.02)
