"""The page of an evaluation: plots like the paper's, tables, and the pictures."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

Row = Mapping[str, Any]


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
        parts.append(f"<h2>{html.escape(name)}</h2>{table(rows)}")
    parts += [f'<p><img src="{name}" alt="{name}">' for name in (*plots, "samples.png", "held_out.png")]
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

    (left, right), save = figure("guidance", 2)
    scales = [row["guidance"] for row in sweeps["guidance"]]
    for axes, key, label in ((left, "frechet", "Fréchet distance"), (right, "top5", "R@5")):
        axes.plot(scales, [row[key] for row in sweeps["guidance"]], marker="o")
        axes.set(xlabel="guidance scale", ylabel=label)
    save()

    for name, figures in (
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
