"""Where a decoder walks latents, the end of a picture's way: the autoencoder's second half in the upsampler's place.

It is served as the upsampler is, so that it has a pool of its own where one is wanted, whose replicas need none of the
decoder's memory; latents are a fiftieth of the picture's bytes on the way there.
"""

from __future__ import annotations

import torch

from decoder_svc.editing import known_of
from decoder_svc.latents import HALVES, load, scale_of, signature, size_of
from decoder_svc.tiles import bounded
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import AUTOENCODER
from unclip.engine.forward import ForwardJob, ForwardProgram
from unclip.networks.interface import LOCAL, NetworkName, Remotes, running_on
from unclip.networks.loading import count_parameters
from unclip.networks.placement import Placement
from unclip.wire.tasks import UpsampleTask

LANE: NetworkName = "latent_decoder"  # then the shape


class Autoencoder:
    """A checkpoint's autoencoder on a device, from latents to pictures.

    Attributes: size, side of its pictures where nothing else is asked for; channels, scale: see
    `decoder_svc.decoder.Decoder`; where, the place it runs on.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        precision: str = "float32",
        remotes: Remotes = LOCAL,
        offload: bool = False,
    ) -> None:
        checkpoint.verify(checkpoint.components("upsampler"))
        self.device = device
        self.scale = scale_of(checkpoint)
        [port] = signature(LANE, checkpoint).inputs
        self.channels = port.shape[0]
        self.size = size_of(checkpoint)
        network = remotes.get(LANE) or load(LANE, checkpoint, Placement.choose(device, precision, offload))
        self.programs = {LANE: ForwardProgram(bounded(network, port.name, 1, self.scale), device)}
        self.parameters = count_parameters(checkpoint, AUTOENCODER, HALVES[LANE])
        self.where = running_on(device, remotes, [LANE])

    def upsample(self, task: UpsampleTask, deadline: float = float("inf")) -> ForwardJob:
        """A job to the picture of latents, float32 ``[3, H, W]`` in [-1, 1]; known pixels are kept bit for bit."""
        latents = torch.from_numpy(task.sample.copy())  # a copy: the wire's is read-only
        known = None if task.known is None else known_of(task.known, torch.device("cpu"))

        def finish(picture: torch.Tensor) -> torch.Tensor:
            clamped = picture.clamp(-1, 1)
            return clamped if known is None else known.keep(clamped)

        scale = task.sample[0].size * self.scale**2 / self.size**2
        lane = (LANE, *task.sample.shape)
        return ForwardJob(lane, {"latents": latents}, deadline, priority=1, scale=scale, finish=finish)
