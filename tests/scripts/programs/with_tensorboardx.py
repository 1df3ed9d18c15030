"""Event files of tensorboardX, read back by tensorboard."""

import glob
import tempfile

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboardX import SummaryWriter, utils

torch.manual_seed(0)
with tempfile.TemporaryDirectory() as folder:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with SummaryWriter(folder) as writer:
        for step in range(4):
            optimizer.zero_grad()
            loss = model(torch.randn(5, 3)).pow(2).mean()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss, step)
            writer.add_scalars("both", {"bias": model.bias[0], "weight": model.weight.mean().item()}, step)
            writer.add_histogram("weight", model.weight, step)
            writer.add_histogram("gradient", model.weight.grad, step, bins="auto")
        writer.add_image("image", torch.rand(3, 8, 8), 0)
        writer.add_images("images", torch.rand(4, 1, 8, 8), 0)
        writer.add_image_with_boxes("boxes", torch.rand(3, 16, 16), torch.tensor([[2, 2, 8, 8]]), 0)
        writer.add_image("bytes", torch.randint(0, 255, (8, 8, 3), dtype=torch.uint8), 0, dataformats="HWC")
        writer.add_text("note", "a text", 0)
        writer.add_pr_curve("curve", torch.tensor([0, 1, 1, 0, 1]), torch.tensor([0.1, 0.9, 0.6, 0.4, 0.3]), 0)
        writer.add_embedding(torch.randn(6, 3), metadata=list("abcdef"), label_img=torch.rand(6, 3, 4, 4), global_step=0)
        writer.add_mesh("mesh", torch.rand(1, 4, 3), colors=torch.randint(0, 255, (1, 4, 3)), faces=torch.tensor([[[0, 1, 2]]]))
        writer.add_hparams({"lr": 0.1, "kind": "sgd"}, {"hparam/loss": loss.item()}, name="run")
    for path in sorted(glob.glob(folder + "/**/events*", recursive=True)):
        found = EventAccumulator(path, size_guidance={"images": 0, "tensors": 0, "histograms": 0}).Reload()
        print(path[len(folder):].rpartition("/")[0])
        for tag in found.Tags()["scalars"]:
            print(tag, [(e.step, f"{e.value:.5f}") for e in found.Scalars(tag)])
        for tag in found.Tags()["histograms"]:
            for e in found.Histograms(tag):
                h = e.histogram_value
                print(tag, e.step, h.num, f"{h.min:.4f} {h.max:.4f} {h.sum:.4f}", len(h.bucket), sum(h.bucket))
        for tag in found.Tags()["images"]:
            for e in found.Images(tag):
                print(tag, e.step, e.width, e.height, len(e.encoded_image_string), sum(e.encoded_image_string))
        for tag in found.Tags()["tensors"]:
            for e in found.Tensors(tag):
                print(tag, e.step, list(e.tensor_proto.string_val), np.round(np.array(e.tensor_proto.float_val), 5).tolist())
    for path in sorted(glob.glob(folder + "/**/*.tsv", recursive=True)):
        print(path[len(folder):], open(path).read())
    print(open(glob.glob(folder + "/**/projector_config.pbtxt", recursive=True)[0]).read())
grid = utils.make_grid(torch.rand(5, 3, 4, 4).numpy(), ncols=3)
print(grid.shape, f"{grid.sum():.4f}")
