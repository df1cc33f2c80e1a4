"""The page of an evaluation: plots like the paper's, tables, and the pictures."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

Row = Mapping[str, Any]

MEANING = {
    "prior": "What the image embedding is worth (the paper's figure 8): left out, the text embedding in its place, or "
    "the prior's. All held-out captions.",
    "prior_guidance": "The prior's guidance scale. This sweep and those below ask for the tuning half of the pairs.",
    "prior_samplers": "The prior's samplers at more and more steps, guidance as by default.",
    "guidance": "The decoder's guidance scale.",
    "samplers": "The decoder's samplers at more and more steps, guidance as by default: quality against time.",
    "upsampler": "The upsampler alone, on real pictures made small.",
}
SHEETS = {
    "samples.png": "Held-out captions, seed 0, the first 64, nothing picked",
    "held_out.png": "The same beside the real pictures",
}


def write_page(out: Path, metrics: Mapping[str, float], sweeps: Mapping[str, Sequence[Row]]) -> None:
    """Writes index.html and its plots into ``out``, which has the contact sheets already."""
    plots = [plot.name for plot in (plot_all(out, sweeps) if sweeps else [])]
    parts = ["<!doctype html><meta charset=utf-8><title>Evaluation</title>"]
    parts.append(
        "<style>body{font:15px sans-serif;margin:2em;max-width:1200px}td,th{padding:2px 10px;text-align:right}"
    )
    parts.append("td:first-child,th:first-child{text-align:left}img{max-width:100%}</style><h1>Evaluation</h1>")
    parts.append(table([{"metric": name, "value": value} for name, value in metrics.items()]))
    for name, rows in sweeps.items():
        parts.append(f"<h2>{html.escape(name)}</h2><p>{html.escape(MEANING[name])}</p>{table(rows)}")
        if f"{name}.png" in plots:
            parts.append(f'<p><img src="{name}.png" alt="{name}">')
    parts += [f"<h2>{title}</h2><p><img src={name} alt={name}>" for name, title in SHEETS.items()]
    (out / "index.html").write_text("\n".join(parts) + "\n")


def table(rows: Sequence[Row]) -> str:
    """An HTML table with a column per key of the first row."""
    head = "".join(f"<th>{html.escape(key)}</th>" for key in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{cell(value)}</td>" for value in row.values()) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def cell(value: object) -> str:
    """Numbers with three digits, words as they are."""
    return f"{value:.3f}" if isinstance(value, float) else html.escape(str(value))


def plot_all(out: Path, sweeps: Mapping[str, Sequence[Row]]) -> list[Path]:
    """One picture per sweep."""
    from matplotlib import pyplot as plt

    written: list[Path] = []

    def figure(name: str, columns: int) -> Any:
        drawn, axes = plt.subplots(1, columns, figsize=(5 * columns, 3.6), squeeze=False)

        def save() -> None:
            drawn.suptitle(name)
            drawn.tight_layout()
            drawn.savefig(out / f"{name}.png", dpi=110)
            plt.close(drawn)
            written.append(out / f"{name}.png")

        return axes[0], save

    (left, right), save = figure("prior", 2)
    names = [row["condition"] for row in sweeps["prior"]]
    for axes, key, label in ((left, "top5", "R@5"), (right, "frechet", "Fréchet distance")):
        axes.barh(names, [row[key] for row in sweeps["prior"]])
        axes.set_xlabel(label)
    save()

    for name in ("prior_guidance", "guidance"):
        (left, right), save = figure(name, 2)
        scales = [row["guidance"] for row in sweeps[name]]
        for axes, key, label in ((left, "frechet", "Fréchet distance"), (right, "top5", "R@5")):
            axes.plot(scales, [row[key] for row in sweeps[name]], marker="o")
            axes.set(xlabel="guidance scale", ylabel=label)
        save()

    for name, figures in (
        ("prior_samplers", (("frechet", "Fréchet distance"), ("top5", "R@5"))),
        ("samplers", (("frechet", "Fréchet distance"), ("top5", "R@5"))),
        ("upsampler", (("psnr", "PSNR, dB"), ("sharpness", "sharpness, 1: real"))),
    ):
        both, save = figure(name, 2)
        for axes, (key, label) in zip(both, figures, strict=True):
            for sampler in dict.fromkeys(row["sampler"] for row in sweeps[name]):
                rows = [row for row in sweeps[name] if row["sampler"] == sampler]
                axes.plot([row["seconds"] for row in rows], [row[key] for row in rows], marker="o", label=sampler)
                for row in rows:
                    axes.annotate(str(row["steps"]), (row["seconds"], row[key]), fontsize=7)
            axes.set(xlabel="seconds per picture (numbers: steps)", ylabel=label)
            axes.legend()
        save()
    return written
