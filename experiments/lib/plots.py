def run_losses(folder: Path, *, title: str, y: str, baselines: Mapping[str, float] | None = None) -> None:
    """Draws loss.png of a run: losses of batches, faint, their running mean, held-out losses, baselines as lines."""
    lines, baselines = report.read_metrics(folder / "metrics.jsonl"), baselines or {}
    steps, losses = (np.array([line[name] for line in lines if "loss" in line]) for name in ("step", "loss"))
    at, held_out = ([line[name] for line in lines if "held_out_loss" in line] for name in ("step", "held_out_loss"))
    with figure(folder / "loss.png", title=title, x="update", y=y) as axes:
        axes.plot(steps, losses, color=COLOURS[5], linewidth=0.7, alpha=0.6, label="training, each batch")
        width = max(1, len(losses) // 50)
        if len(losses) >= 3 * width > 3:
            mean = np.convolve(losses, np.ones(width) / width, mode="valid")
            axes.plot(steps[width - 1 :], mean, color=COLOURS[0], label=f"training, mean over {width} points")
        axes.plot(at, held_out, "o-", color=COLOURS[1], markersize=5, label="held out")
        for name, value in baselines.items():
            axes.axhline(value, color="0.4", linestyle=":", linewidth=1.5)
            place = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom", "color": "0.35"}
            axes.text(0.99, value, name, **place)
        low = min([*losses, *held_out, *baselines.values()])
        axes.set_ylim(max(0.0, 0.9 * low), float(np.percentile(losses, 99.5)) * 1.05)
        axes.legend(frameon=False)


def exposure_figure(path: Path, biases: Mapping[str, Any], title: str) -> None:
    """Draws `rnnjax.seq2seq.ExposureBias` by name: the loss after own samples, solid, and after the truth, dashed."""
    with figure(path, title=title, x="position in the target", y="loss (nats per symbol)") as axes:
        for colour, (name, bias) in zip(COLOURS, biases.items(), strict=False):
            there = np.asarray(bias.truth.count) >= max(1, 0.02 * float(bias.truth.count[0]))  # a few say little
            positions = np.arange(1, len(there) + 1)[there]
            for parts, style, what in ((bias.own, "o-", "own samples"), (bias.truth, "o--", "truth")):
                label = f"{name}, {what} before it" if len(biases) == 1 else f"{name}, {what}"
                axes.plot(positions, np.asarray(parts.mean)[there], style, color=colour, markersize=4, label=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, fontsize=9)


def attention_map(path: Path, weights: np.ndarray, source: Sequence[str], target: Sequence[str]) -> None:
    """Draws weights `[T, S]`, what lies beyond both left out: a row for each symbol written, a column for each read."""
    tall, wide = len(target), len(source)
    turned = any(len(symbol) > 2 for symbol in source)
    style = {**STYLE, "figure.figsize": (1.6 + 0.34 * wide, 1.4 + 0.34 * tall), "axes.grid": False}
    with plt.rc_context(style):
        canvas, axes = plt.subplots(layout="constrained")
        image = axes.imshow(weights[:tall, :wide], cmap="cividis", vmin=0, vmax=1, aspect="equal")
        axes.set_xticks(range(wide), source, rotation=60 if turned else 0, ha="right" if turned else "center")
        axes.set_yticks(range(tall), target)
        axes.set(title="Where the decoder looks", xlabel="read", ylabel="written")
        axes.spines[:].set_visible(False)
        canvas.colorbar(image, ax=axes, label="weight", shrink=0.8)
        canvas.savefig(path, bbox_inches="tight")
        plt.close(canvas)
