"""The diffusion upsampler: sees x_t beside a blurred low-resolution picture (section 2.1, appendix C).

It predicts the clean picture, as the prior does, and not the noise: at the noisiest step a noise prediction is
magnified 20,000 times on its way to x0, which short training cannot get right and seven steps cannot mend.
"""

from __future__ import annotations

from random import Random

import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from training import networks
from training.grow import take_over
from training.loop import UNLIMITED, arguments, choose, device, fit, flips, normal, uniform
from training.presets import Limits, Preset
from training.quick import compiled
from training.scaling import enlarge, reduce
from training.views import Views
from training.watch import denoised, tiled
from unclip.diffusion.schedule import NoiseSchedule

CROPS = 0.4  # share of batches that are crops, half as wide: more pictures in a step, but no edges and other averages


def train(preset: Preset, limits: Limits = UNLIMITED) -> nn.Module:
    """Trains the upsampler, or loads it if it is trained, or kept."""
    torch.manual_seed(0)
    network = networks.upsampler(preset).to(device())
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if preset.start:
        take_over(network, preset.start, "super_res_first")
    if preset.keeps("upsampler"):
        return network.eval()
    quick = compiled(network, preset.upsampler, device())
    taught, _ = preset.pairs()
    cosine = NoiseSchedule.squaredcos_cap_v2()
    schedule = torch.from_numpy(cosine.alphas_cumprod).float().to(device())
    size = preset.size
    views = Views(taught, preset.variety, device(), preset.hidden())

    def loss(generator: torch.Generator) -> torch.Tensor:
        random = Random(int(choose(2**31, 1, generator)))
        side = size // 2 if random.random() < CROPS else size
        count = max(1, preset.upsampler.batch * size**2 // side**2)
        full, _ = views.draw([random.randrange(len(taught)) for _ in range(count)], random, moved=preset.moved)
        low = reduce(full, preset.base_size)
        # The decoder's own pictures are softer and noisier than shrunken originals: blur half, disturb all.
        blurred = functional.avg_pool2d(functional.pad(low, (1, 1, 1, 1), mode="replicate"), 3, 1)
        share = uniform((count, 1, 1, 1), generator) * flips(count, 0.5, generator)[:, None, None, None]
        low = torch.lerp(low, blurred, 0.5 * share)
        low = low + 0.05 * uniform((count, 1, 1, 1), generator) * normal(low.shape, generator)
        large = enlarge(low.clamp(-1, 1), size)
        top, left = (int(v) for v in choose((size - side) // 8 + 1, 2, generator) * 8)
        full, large = (x[..., top : top + side, left : left + side] for x in (full, large))
        t = choose(len(schedule), count, generator).to(full.device)
        noise = normal(full.shape, generator)
        signal = schedule[t][:, None, None, None]
        noisy = signal.sqrt() * full + (1 - signal).sqrt() * noise
        predicted = quick(torch.cat([noisy, large], dim=1), t).sample
        return functional.mse_loss(predicted.float(), full)

    def sheet() -> Image.Image:
        """Enlarged base pictures, what the upsampler makes of them, and the originals."""
        random = Random(0)
        full, _ = views.draw([random.randrange(len(taught)) for _ in range(10)], random, moved=False)
        large = enlarge(reduce(full, preset.base_size), size)
        made = denoised(lambda x, t: network(torch.cat([x, large], dim=1), t).sample, full, cosine, 7, "sample")
        return tiled([large, made, full], columns=10)

    fit("upsampler", preset, network, loss, preset.upsampler, limits, sheet=sheet)
    return network


if __name__ == "__main__":
    train(*arguments("Trains the upsampler."))
