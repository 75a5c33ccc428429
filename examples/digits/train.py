"""Train the packaged example: a small residual network that reads handwritten digits.

The network is written out in numpy, forwards and backwards (`layers.py`), so that the example needs
nothing heavier than scikit-learn, which bundles the 1797 images (8x8 pixels, sixteen grey levels).

    image [1,1,8,8] -> conv bn relu -> (conv bn relu conv bn) + skip relu -> max pool 2x2
                    -> conv bn relu -> (conv bn relu conv bn) + skip relu -> mean -> gemm -> logits

Batch normalisation stays in the exported graph, in inference form: folding it is the compiler's
job. Every random choice is seeded and the matrix products run on one thread, so a second run
writes the same bytes.

    python examples/digits/train.py [--output DIRECTORY]
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import onnx
from layers import Array, Network
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

Labels = NDArray[np.int64]
SEED = 2026
EPOCHS = 40
BATCH = 64
PEAK_RATE = 4e-3
LABEL_SMOOTHING = 0.1
HELD_OUT_PER_CLASS = 10
CALIBRATION = 64
PACKAGED = Path(__file__).resolve().parents[2] / "compiler" / "examples"


@dataclass(frozen=True)
class Digits:
    """Images of shape (n, 8, 8, 1) with grey levels from 0 to 1, and the digits they show."""

    image: Array
    label: Labels

    def channel_first(self) -> Array:
        """Return one [1,1,8,8] model input for each image, stacked along a new first axis."""
        return self.image.reshape(-1, 1, 1, 8, 8)


def split(rng: np.random.Generator) -> tuple[Digits, Digits]:
    """Set the same number of images of each digit aside; return (training, held-out)."""
    pixels, label = cast(tuple[Array, Labels], load_digits(return_X_y=True))
    image = (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    label = label.astype(np.int64)
    order = rng.permutation(len(label))
    chosen = [order[label[order] == digit][:HELD_OUT_PER_CLASS] for digit in range(10)]
    held_out = rng.permutation(np.concatenate(chosen))
    training = order[~np.isin(order, held_out)]
    return Digits(image[training], label[training]), Digits(image[held_out], label[held_out])


def jitter(image: Array, rng: np.random.Generator) -> Array:
    """Move each image by up to one pixel in each direction."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = rng.integers(0, 3, (2, len(image), 1))
    steps = np.arange(8)
    sample = np.arange(len(image))[:, None, None]
    return padded[sample, (rows + steps)[:, :, None], (columns + steps)[:, None, :]]


def loss_gradient(logits: Array, label: Labels) -> tuple[float, Array]:
    """Return the mean cross-entropy against smoothed labels, and its gradient."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    target = np.full_like(logits, LABEL_SMOOTHING / 10)
    target[np.arange(len(label)), label] += 1 - LABEL_SMOOTHING
    loss = -float((target * log_probability).sum(axis=1).mean())
    return loss, (np.exp(log_probability) - target) / np.float32(len(label))


def train(network: Network, digits: Digits, rng: np.random.Generator) -> None:
    """Fit the network, with a rate that warms up and then falls along a cosine."""
    parameters = network.parameters()
    batches = len(digits.label) // BATCH
    last = EPOCHS * batches
    iteration = 0
    for epoch in range(EPOCHS):
        order = rng.permutation(len(digits.label))
        losses: list[float] = []
        for batch in order[: batches * BATCH].reshape(batches, BATCH):
            iteration += 1
            logits = network.forward(jitter(digits.image[batch], rng), training=True)
            loss, gradient = loss_gradient(logits, digits.label[batch])
            losses.append(loss)
            network.backward(gradient)
            falling = 0.5 * (1 + np.cos(np.pi * iteration / last))
            rate = PEAK_RATE * float(min(iteration / (2 * batches), falling))
            for parameter in parameters:
                parameter.step(rate, iteration)
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1:2}: loss {np.mean(losses):.4f}")


def main() -> None:
    """Train, export, and write the model beside its held-out and calibration images."""
    parser = argparse.ArgumentParser(description="Train and export the packaged digits model.")
    parser.add_argument("--output", type=Path, default=PACKAGED, help="directory to write to")
    output: Path = parser.parse_args().output
    started = time.perf_counter()
    rng = np.random.default_rng(SEED)
    training, held_out = split(rng)
    network = Network(rng)
    with threadpool_limits(1):
        train(network, training, rng)
        correct = network.forward(held_out.image).argmax(axis=1) == held_out.label
    output.mkdir(parents=True, exist_ok=True)
    onnx.save(network.export(), output / "digits.onnx")
    np.savez_compressed(
        output / "digits_heldout.npz", image=held_out.channel_first(), label=held_out.label
    )
    calibration = Digits(training.image[:CALIBRATION], training.label[:CALIBRATION])
    np.savez_compressed(output / "digits_calibration.npz", image=calibration.channel_first())
    seconds = time.perf_counter() - started
    print(f"{correct.mean():.1%} of {correct.size} held-out digits right, after {seconds:.0f} s")


if __name__ == "__main__":
    main()
