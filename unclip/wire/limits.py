"""How much one request may ask for; gateways hold these, and clients refuse unasked what would be work to send."""

MAX_IMAGES = 16  # pictures to make, or to embed
MAX_CANDIDATES = 16  # of the prior, for each picture
MAX_RANKED = 64  # pictures made so that the best can be kept
MAX_FRAMES = 64  # on the way from a picture to something else
MAX_CAPTIONS = 64  # to embed
MIN_OUTPUT_SIDE, MAX_OUTPUT_SIDE = 16, 2048  # pixels a side of pictures that are resized
MAX_PREVIEW_INTERVAL = 1000  # decoder steps
