"""The public API: composes encoder, prior, decoder and upsampler into Generate, Vary, TextDiff and Embed.

It holds no network: it validates requests, plans each picture, fans the work out to the stages and writes the
picture files. Numpy is all the mathematics it needs.
"""
