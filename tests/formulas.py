"""The networks once more: straight from the papers' formulas and the names in the weights, nothing in place."""

import torch
import torch.nn.functional as F


class Reference:
    """Computes with a state dict; `block` is the architecture's."""

    prefix: str

    def __init__(self, state, options):
        self.state, self.options = state, options

    def __call__(self, x):
        first = self.conv("fea_conv", x, 1)
        features = [first]
        for k in range(1, self.options.blocks + 1):
            features.append(self.block(f"{self.prefix}{k}", features[-1]))
        deep = self.conv("LR_conv", act(self.conv("c.0", torch.cat(features[1:], 1))), 1)
        return F.pixel_shuffle(self.conv("upsampler.0", deep + first, 1), self.options.scale)

    def conv(self, name, x, padding=0, stride=1):
        return F.conv2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], padding=padding, stride=stride)

    def cca(self, conv1, conv2, x):
        mean = x.mean((2, 3), keepdim=True)
        contrast = ((x - mean) ** 2).mean((2, 3), keepdim=True).sqrt() + mean
        return x / (1 + torch.exp(-self.conv(conv2, torch.relu(self.conv(conv1, contrast)))))

    def esa(self, name, x):
        near = self.conv(f"{name}.conv1", x)
        far = F.max_pool2d(self.conv(f"{name}.conv2", near, stride=2), 7, 3)
        far = torch.relu(self.conv(f"{name}.conv_max", far, 1))
        far = self.conv(f"{name}.conv3_", torch.relu(self.conv(f"{name}.conv3", far, 1)), 1)
        far = F.interpolate(far, x.shape[2:], mode="bilinear", align_corners=False)
        return x / (1 + torch.exp(-self.conv(f"{name}.conv4", far + self.conv(f"{name}.conv_f", near))))


def act(x):
    return torch.where(x > 0, x, 0.05 * x)


class ReferenceRFDN(Reference):
    prefix = "B"

    def block(self, name, x):
        o = self.options
        parts, r = [], x
        for step in "123":
            if o.block in ("rfdb", "fdc"):
                parts.append(act(self.conv(f"{name}.c{step}_d", r)))
            r = act(self.conv(f"{name}.c{step}_r", r, 1) + (r if o.block in ("rfdb", "srb") else 0))
        parts.append(act(self.conv(f"{name}.c4", r, 1)))
        fused = self.conv(f"{name}.c5", torch.cat(parts, 1))
        if o.attention == "esa":
            y = self.esa(f"{name}.esa", fused)
        else:
            y = self.cca(f"{name}.cca.conv1", f"{name}.cca.conv2", fused)
        return y + x if o.block_residual else y


class ReferenceIMDN(Reference):
    prefix = "IMDB"

    def block(self, name, x):
        parts, r = [], x
        for step in "123":
            whole = act(self.conv(f"{name}.c{step}", r, 1))
            parts.append(whole[:, : self.options.distilled])
            r = whole[:, self.options.distilled :]
        parts.append(self.conv(f"{name}.c4", r, 1))
        y = self.cca(f"{name}.cca.conv_du.0", f"{name}.cca.conv_du.2", torch.cat(parts, 1))
        return self.conv(f"{name}.c5", y) + x


def assert_same_gradients(net, reference):
    """Those of the input and of every parameter, of a loss that weighs all outputs differently."""
    x = torch.rand(1, 3, 15, 17, dtype=torch.float64, requires_grad=True)
    state = {name: parameter.detach().clone().requires_grad_() for name, parameter in net.named_parameters()}
    weights = torch.rand_like(net(x))
    got = torch.autograd.grad((net(x) * weights).sum(), [x, *net.parameters()])
    want = torch.autograd.grad((reference(state, net.options)(x) * weights).sum(), [x, *state.values()])
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
