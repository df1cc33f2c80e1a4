#!/bin/sh
# Makes the sheets in this folder with the command line, from pictures that the embedded checkpoint was not taught.
# Needs `make install`; takes a minute or two. The checkpoint, the seeds and the machine's arithmetic decide the pixels.
set -eu
cd "$(dirname "$0")/../.."
bin=$PWD/.venv/bin
out=$PWD/docs/pictures
work=$(mktemp -d)
"$bin/python" -m training.held_out "$work"
"$bin/unclip" serve --port 50750 >"$work/serve.log" 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -r "$work"' EXIT
cd "$work"
unclip() { "$bin/unclip" "$@" --server 127.0.0.1:50750; }
until unclip info >/dev/null 2>&1; do
    kill -0 $server || { cat serve.log; exit 1; }
    sleep 1
done

unclip generate "a flat emoji of a strawberry" --count 7 --seed 1
unclip vary noto-taxi.png --count 6 --seed 1 --eta 0.9
unclip text-diff flat-strawberry.png --before "a flat emoji of a strawberry" \
    --after "a flat emoji of a purple strawberry" --theta 0.7 --frames 7
unclip interpolate flat-strawberry.png noto-taxi.png --frames 7
"$bin/python" - <<'MASK'
from PIL import Image, ImageDraw

mask = Image.new("L", (128, 128), 0)
ImageDraw.Draw(mask).rectangle((0, 64, 127, 127), fill=255)
mask.save("lower-half.png")
MASK
unclip edit flat-sailboat.png "a flat emoji of a sailboat" --mask lower-half.png --count 6 --seed 1

cp out/generate-*-sheet.png "$out/generate.png"
cp out/vary-*-sheet.png "$out/vary.png"
cp out/text-diff-*-sheet.png "$out/text-diff.png"
cp out/interpolate-*-sheet.png "$out/interpolate.png"
cp out/edit-*-sheet.png "$out/edit.png"
