"""Latents are known up to a linear map: how to find it, between sessions and towards given dynamics."""

from __future__ import annotations

import copy

import numpy as np
import torch

MOST_BINS = 1500  # that a search looks at


def condition_means(factors: np.ndarray, recorded: np.ndarray, labels: np.ndarray) -> dict:
    """Mean course (T, R) of every condition's trials, NaN in bins that none recorded.

    factors : (B, T, R);  recorded : (B, T);  labels : (B,)
    """
    means = {}
    for label in np.unique(labels):
        rows = labels == label
        weight = recorded[rows].sum(0)[:, None].astype(float)
        total = (factors[rows] * recorded[rows][..., None]).sum(0)
        means[label] = np.where(weight > 0, total / np.maximum(weight, 1), np.nan)
    return means


def rotation(means: dict, reference: dict) -> np.ndarray:
    """(R, R) orthogonal Q that turns courses towards the reference's: the least of Σ |course Q − reference|² (Procrustes)."""
    cross = 0.0
    for label in set(means) & set(reference):
        bins = min(len(means[label]), len(reference[label]))
        x, y = means[label][:bins], reference[label][:bins]
        both = np.isfinite(x).all(1) & np.isfinite(y).all(1)
        cross = cross + x[both].T @ y[both]
    u, _, vt = np.linalg.svd(cross)
    return u @ vt


def affine_map(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(R + 1, R') least-squares map of latents (..., R) to (..., R'), a constant in the last row."""
    return np.linalg.lstsq(padded(source), target.reshape(-1, target.shape[-1]), rcond=None)[0]


def affine_r2(source: np.ndarray, target: np.ndarray, train=slice(None), test=slice(None)) -> float:
    """R² of `target` by the affine map of `source` that is best on the training trials, pooled over the test trials and dimensions.

    source : (B, ..., R);  target : (B, ..., R');  train, test : indices of trials, by default all
    """
    goal = target[test].reshape(-1, target.shape[-1])
    error = goal - padded(source[test]) @ affine_map(source[train], target[train])
    mean = target[train].reshape(-1, target.shape[-1]).mean(0)
    return float(1 - (error**2).sum() / ((goal - mean) ** 2).sum())


def padded(z: np.ndarray) -> np.ndarray:
    """(..., R) -> (rows, R + 1) with a column of ones."""
    flat = z.reshape(-1, z.shape[-1])
    return np.concatenate([flat, np.ones((len(flat), 1))], 1)


def towards_dynamics(
    model, factors: np.ndarray, recorded: np.ndarray, inputs: np.ndarray, *, seed: int, starts: int = 12, steps: int = 120
):
    """The affine map of factors into a fitted model's latent space, z ≈ f A + b, under which they move as the dynamics say.

    Largest log p(z_1) + Σ log p(z_t | z_{t−1}) + bins · log |det A|, the density of the factors; their own noise makes all residuals larger
    than the model's, so the residuals' size is profiled out. The likelihood has many maxima: the search starts from
    the map that gives factors the moments (and the best match of the mean course) of latents that the model generates with the same
    inputs, and from random rotations of it.

    Parameters
    ----------
    model : LowRankRNN
    factors : (B, T, R);  recorded : (B, T);  inputs : (B, T, D)
    seed, starts, steps : int
        Of the search.

    Returns
    -------
    A : (R, R), b : (R,)
    """
    some = np.random.default_rng(seed).permutation(len(factors))[: max(1, MOST_BINS // factors.shape[1])]  # more add cost, not answers
    factors, recorded, inputs = factors[some], recorded[some], inputs[some]
    model, f, known = _double(model), torch.as_tensor(factors, dtype=torch.float64), torch.as_tensor(recorded)
    u = torch.as_tensor(np.array(inputs), dtype=torch.float64)
    z = model.simulate(u, seed=seed)[0]
    white, back = _whitener(f[known]), torch.linalg.inv(_whitener(z[known]))
    centred = [((x - x[known].mean(0)) @ w).numpy() for x, w in ((f, white), (z, torch.linalg.inv(back)))]
    course = [condition_means(x, recorded, np.zeros(len(x))) for x in centred]
    generator = torch.Generator().manual_seed(seed)
    turns = torch.linalg.qr(torch.randn(starts, *back.shape, generator=generator, dtype=torch.float64))[0]
    turns[0] = torch.as_tensor(rotation(*course))
    A = white @ turns @ back
    b = z[known].mean(0) - f[known].mean(0) @ A
    A, b, loss = _climb(model, f, known, model.drive(u), A, b, steps)
    best = int(loss.argmin())
    return A[best].numpy(), b[best].numpy()


def _climb(model, f, known, u, A, b, steps):
    """Maps A (S, R, R), b (S, R) improved by gradient steps, all at once, and their losses (S,), nats."""
    A, b = A.clone().requires_grad_(), b.clone().requires_grad_()
    optimizer = torch.optim.Adam([A, b], lr=0.03)
    noise, first = model.noise.scale().inverse, model.initial_noise.scale().inverse
    pairs, begun, R = (known[:, 1:] & known[:, :-1]).double(), known[:, 0].double(), f.shape[-1]
    for _ in range(steps):
        optimizer.zero_grad()
        z = torch.einsum("btr,srq->sbtq", f, A) + b[:, None, None]
        moved = _size((z[:, :, 1:] - model.step(z[:, :, :-1], u[:, 1:])) @ noise.mT, pairs)
        start = _size((z[:, :, 0] - model.initial(u[:, 0]).mean) @ first.mT, begun)
        bins = pairs.sum() + begun.sum()
        loss = 0.5 * R * (pairs.sum() * moved.log() + begun.sum() * start.log()) - bins * torch.linalg.slogdet(A)[1]
        loss.sum().backward()
        optimizer.step()
    return A.detach(), b.detach(), loss.detach()


def _size(white, weight):
    """Mean square of whitened residuals (S, …, R) where weight (…) is 1, (S,)."""
    square = (white.square().mean(-1) * weight).flatten(1).sum(1)
    return square / weight.sum().clamp_min(1) + 1e-12


def _double(model):
    twin = copy.deepcopy(model).double().cpu()
    return twin.requires_grad_(False)


def _whitener(rows):
    """(R, R) W such that rows W have covariance I."""
    values, vectors = torch.linalg.eigh(rows.mT.cov().reshape(rows.shape[1], -1))
    return vectors / values.clamp_min(1e-9).sqrt() @ vectors.mT
