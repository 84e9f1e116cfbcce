"""The range test of a model that several processes train together: two of gloo, on the CPU."""

import torch
from torch import distributed, nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from clr.policies import RangeRamp
from clr.range_test import lr_range_test


def blobs():
    labels = torch.arange(512) % 2
    generator = torch.Generator().manual_seed(0)
    return torch.randn(512, 4, generator=generator) + 2 * labels[:, None], labels


def ramps(kind):
    """The range tests of one process: some end early, some do not."""
    found = []
    for seed, top in enumerate((3.0, 30.0, 300.0)):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
        if kind == "DDP":
            model = nn.parallel.DistributedDataParallel(model)
        else:
            from torch.distributed.fsdp import fully_shard

            fully_shard(model)
        before = [p.detach().clone() for p in model.parameters()]
        data = TensorDataset(*blobs())
        sampler = DistributedSampler(data, seed=seed)
        test = lr_range_test(
            model,
            DataLoader(data, 8, sampler=sampler),
            loss=nn.functional.cross_entropy,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
            policy=RangeRamp(0.0, top, 120),
            evaluate=lambda m: float(distributed.get_rank()),  # differs: the mean is a half
            clip_grad_norm=10.0 if seed == 0 else None,
        )
        after = list(model.parameters())
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        found.append((test.curves[0], test.ended))
    return found


def process(rank, folder):
    distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    try:
        torch.save(ramps("DDP") + ramps("fully_shard"), f"{folder}/{rank}")
    finally:
        distributed.destroy_process_group()


def test_all_processes_stop_together_and_read_the_same_numbers(tmp_path):
    torch.multiprocessing.spawn(process, (str(tmp_path),), nprocs=2)
    one, other = (torch.load(tmp_path / str(rank), weights_only=False) for rank in (0, 1))
    for (curve, ended), (other_curve, other_ended) in zip(one, other, strict=True):
        assert ended == other_ended and curve.equals(other_curve)
        assert set(curve["test_accuracy"]) == {0.5}
    assert any(ended != ["finished"] for _, ended in one)
