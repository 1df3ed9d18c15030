"""Neural style transfer between two drawn images: losses inside of the network, Gram matrices, LBFGS on the pixels."""
import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

torch.manual_seed(4)
torch.set_default_dtype(torch.float64)  # LBFGS without a line search amplifies rounding


def picture(kind, size=24):
    grid = torch.linspace(0, 1, size)
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    if kind == "content":
        planes = [((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1).to(x.dtype), x, 1 - y]
    else:
        planes = [torch.sin(12 * (x + y)) * 0.5 + 0.5, torch.cos(18 * x) * 0.5 + 0.5, torch.frac(4 * y)]
    return torch.stack(planes)[None]


class ContentLoss(nn.Module):
    def __init__(self, target):
        super().__init__()
        self.target = target.detach()

    def forward(self, input):
        self.loss = F.mse_loss(input, self.target)
        return input


def gram_matrix(input):
    a, b, c, d = input.size()
    features = input.view(a * b, c * d)
    return torch.mm(features, features.t()).div(a * b * c * d)


class StyleLoss(nn.Module):
    def __init__(self, target_feature):
        super().__init__()
        self.target = gram_matrix(target_feature).detach()

    def forward(self, input):
        self.loss = F.mse_loss(gram_matrix(input), self.target)
        return input


class Normalization(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.mean = mean.clone().detach().view(-1, 1, 1)
        self.std = std.clone().detach().view(-1, 1, 1)

    def forward(self, img):
        return (img - self.mean) / self.std


def get_style_model_and_losses(cnn, mean, std, style_img, content_img):
    content_losses, style_losses = [], []
    model = nn.Sequential(Normalization(mean, std))
    i = 0
    for layer in cnn.children():
        if isinstance(layer, nn.Conv2d):
            i += 1
            name = f"conv_{i}"
        elif isinstance(layer, nn.ReLU):
            name = f"relu_{i}"
            layer = nn.ReLU(inplace=False)
        elif isinstance(layer, nn.MaxPool2d):
            name = f"pool_{i}"
        else:
            raise RuntimeError(f"Unrecognized layer: {layer.__class__.__name__}")
        model.add_module(name, layer)
        if name == "conv_3":
            content_losses.append(ContentLoss(model(content_img).detach()))
            model.add_module(f"content_loss_{i}", content_losses[-1])
        if name.startswith("conv"):
            style_losses.append(StyleLoss(model(style_img).detach()))
            model.add_module(f"style_loss_{i}", style_losses[-1])
    for i in range(len(model) - 1, -1, -1):
        if isinstance(model[i], (ContentLoss, StyleLoss)):
            break
    return model[:(i + 1)], style_losses, content_losses


def total_variation(img):
    return (img[..., 1:, :] - img[..., :-1, :]).abs().mean() + (img[..., 1:] - img[..., :-1]).abs().mean()


def run_style_transfer(cnn, content_img, style_img, num_steps=30, style_weight=2e4, content_weight=1, **options):
    model, style_losses, content_losses = get_style_model_and_losses(
        copy.deepcopy(cnn), torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225]), style_img, content_img)
    input_img = content_img.clone()
    input_img.requires_grad_(True)
    model.eval()
    model.requires_grad_(False)
    optimizer = optim.LBFGS([input_img], **options)
    run = [0]
    while run[0] <= num_steps:
        def closure():
            with torch.no_grad():
                input_img.clamp_(0, 1)
            optimizer.zero_grad()
            model(input_img)
            style_score = sum(sl.loss for sl in style_losses) * style_weight
            content_score = sum(cl.loss for cl in content_losses) * content_weight
            loss = style_score + content_score + 0.01 * total_variation(input_img)
            loss.backward()
            run[0] += 1
            if run[0] % 10 == 0:
                print(f"run {run}: Style Loss : {style_score.item():.4f} Content Loss: {content_score.item():.4f}")
            return loss
        optimizer.step(closure)
    with torch.no_grad():
        input_img.clamp_(0, 1)
    return input_img, [name for name, _ in model.named_children()]


cnn = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True),
                    nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(16, 16, 3, padding=1))
for options in ({"max_iter": 10}, {"max_iter": 10, "line_search_fn": "strong_wolfe", "history_size": 5}):
    image, names = run_style_transfer(cnn, picture("content"), picture("style"), **options)
    print(names, [f"{v:.3f}" for v in image.mean((0, 2, 3)).tolist()], f"{image.std():.3f}")
