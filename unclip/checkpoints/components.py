"""The components of checkpoints, by the names of their folders; see `Checkpoint.place` for repositories that call them
otherwise. What each service loads of them is `Checkpoint.components`."""

from __future__ import annotations

ENCODERS = ("text_encoder", "image_encoder")
TEXT_FOLDERS = ("tokenizer", "text_encoder")
IMAGE_FOLDERS = ("image_encoder", "feature_extractor")
ENCODER_FOLDERS = (*TEXT_FOLDERS, *IMAGE_FOLDERS)
PRIOR_FOLDERS = ("prior", "prior_scheduler")
DECODER_FOLDERS = ("text_proj", "decoder", "decoder_scheduler")
UPSAMPLER_FOLDERS = ("super_res_first", "super_res_scheduler")
OPTIONAL_FOLDERS = ("super_res_last",)  # Karlo's last step; without it the first network takes every step
STUDENT = "decoder_student"  # of the decoder: a U-Net that makes in a few steps what that makes in many
STUDENT_FOLDERS = (STUDENT, "decoder_student_scheduler")
DECODER_TEXT_FOLDERS = ("decoder_tokenizer", "decoder_text_encoder")  # Stable unCLIP's: another one than the CLIP's
NOISING_FOLDERS = ("image_normalizer", "image_noising_scheduler")  # of what its decoder is told of the embedding
AUTOENCODER = "autoencoder"  # of a decoder that walks latents: the decoder reads pictures by it, the upsampler is it

STAGE_FOLDERS = {
    "encoder": ENCODER_FOLDERS,
    "prior": PRIOR_FOLDERS,
    "decoder": DECODER_FOLDERS,
    "upsampler": UPSAMPLER_FOLDERS,
}
FETCHED = {  # what each may load, of some family
    "encoder": (*ENCODER_FOLDERS, *DECODER_TEXT_FOLDERS),
    "prior": PRIOR_FOLDERS,
    "decoder": (*DECODER_FOLDERS, *STUDENT_FOLDERS, *NOISING_FOLDERS, AUTOENCODER),
    "upsampler": (*UPSAMPLER_FOLDERS, *OPTIONAL_FOLDERS, AUTOENCODER),
}
EVERY_FOLDER = tuple(dict.fromkeys(component for components in FETCHED.values() for component in components))
