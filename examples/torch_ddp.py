"""A model that several processes train together (PyTorch DDP), as one trial: needs torch.

tuner sweep --command 'torchrun --standalone --nproc-per-node 2 examples/torch_ddp.py --lr {learning_rate} --momentum {beta} --folder {checkpoint}' --cpus 2 --objective dev_loss --goal minimize --space sgd_momentum

`torchrun` starts the processes, on one node, and ends them together; the first of them reports and saves. With GPUs: one a
process, --gpus 2.
"""  # noqa: E501 - a command to copy

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import tuner


def train(rate: float, momentum: float, epochs: int, folder: Path) -> None:
    """Train one process's share of each batch; gradients are averaged over all."""
    gpu = torch.cuda.is_available()
    dist.init_process_group("nccl" if gpu else "gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if gpu else "cpu")
    torch.manual_seed(0)  # every process begins with the same weights
    x = torch.linspace(-3, 3, 1024, device=device)[:, None]
    dev_x = x[:-1] + 0.003
    network = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)).to(device)
    model = DistributedDataParallel(network)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum, dampening=momentum)
    saved = folder / "last.pt"
    begin = 0
    if saved.exists():
        state = torch.load(saved, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        begin = state["epoch"]
    for epoch in range(begin + 1, epochs + 1):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))
        for batch in order.split(64):
            mine = batch[rank::world]
            loss = torch.nn.functional.mse_loss(model(x[mine]), torch.sin(x[mine]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if rank == 0:
            with torch.no_grad():
                dev_loss = torch.nn.functional.mse_loss(network(dev_x), torch.sin(dev_x))
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
            torch.save(state, saved.with_suffix(".new"))
            saved.with_suffix(".new").replace(saved)
            tuner.report(step=epoch, dev_loss=float(dev_loss), processes=world)
        dist.barrier()  # nobody is an epoch ahead of what is saved
    dist.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--momentum", type=float, required=True)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    train(given.lr, given.momentum, given.epochs, given.folder)
