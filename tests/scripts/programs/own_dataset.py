"""Datasets of our own: transforms, splits, samplers, collate functions, workers."""
import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    WeightedRandomSampler,
    random_split,
)


class Waves(Dataset):
    """Sine waves of random length with their frequency class."""

    def __init__(self, n, transform=None):
        rng = np.random.RandomState(0)
        self.frequency = rng.randint(1, 4, n)
        self.length = rng.randint(5, 9, n)
        self.transform = transform

    def __len__(self):
        return len(self.frequency)

    def __getitem__(self, idx):
        if torch.is_tensor(idx):
            idx = idx.tolist()
        t = np.arange(self.length[idx]) / 10
        sample = {"wave": np.sin(2 * np.pi * self.frequency[idx] * t), "label": int(self.frequency[idx]) - 1}
        return self.transform(sample) if self.transform else sample


class ToTensor:
    def __call__(self, sample):
        return {"wave": torch.from_numpy(sample["wave"]).float(), "label": torch.tensor(sample["label"])}


def pad(batch):
    length = max(len(s["wave"]) for s in batch)
    out = torch.zeros(len(batch), length)
    for i, s in enumerate(batch):
        out[i, :len(s["wave"])] = s["wave"]
    return out, torch.stack([s["label"] for s in batch])


if __name__ == "__main__":
    torch.manual_seed(0)
    data = Waves(20, ToTensor())
    print(len(data), data[0])
    first, second = random_split(data, [15, 5], generator=torch.Generator().manual_seed(42))
    print(first.indices, second.indices)
    for waves, labels in DataLoader(first, batch_size=4, shuffle=True, collate_fn=pad, drop_last=True):
        print(waves.shape, labels.tolist(), f"{waves.sum().item():.4f}")
    print(list(RandomSampler(range(6))), list(BatchSampler(SequentialSampler(range(7)), 3, False)))
    print(list(WeightedRandomSampler([0.1, 0.9, 0.4, 0.7], 5, replacement=True)))
    print(len(ConcatDataset([first, second])), len(Subset(data, [1, 3])))
    pairs = [(torch.tensor([i, i + 1.0]), {"n": i, "name": str(i)}) for i in range(6)]
    for tensors, info in DataLoader(pairs, batch_size=3):
        print(tensors, info)
    for batch in DataLoader(data, batch_size=10, collate_fn=pad, num_workers=2):
        print(batch[0].shape, batch[1].tolist())
    loader = DataLoader(first, batch_size=4, shuffle=True, collate_fn=pad, generator=torch.Generator().manual_seed(3))
    print(len(loader), [labels.tolist() for _, labels in loader])
