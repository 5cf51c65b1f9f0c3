"""`train` ends with the weights of a plain loop that does the same step by step, without threads, queues or chunks.

The loop makes each crop when it is needed, changes colours with torchvision, computes losses from their definition, and
uses torch's SGD and PolynomialLR. Speed may change how a step is computed, but not what it computes.
"""

from collections import deque

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as TF

from tce_core import VOID
from tce_core.batches import Batches
from tce_core.colours import normalise
from tce_core.data.crops import CropSettings, random_crop
from tce_core.model import build_model
from tce_core.run import Run
from tce_core.sampling import Draw, Shuffle
from tce_core.seeding import Stream, numpy_generator, torch_generator, torch_seed
from tce_core.stochastic import overlapping

CPU = torch.device("cpu")
STEPS, EPOCHS = 4, 2


def crop_of(config, data, draw, step, position):
    rng = numpy_generator(config.seed, Stream.CROP, step, position)
    image, labels = random_crop(
        data.train.image(draw.image),
        data.train.mask(draw.image),
        CropSettings(config.crop, config.scale, config.flip),
        rng,
        draw.focus,
    )
    image, labels = torch.from_numpy(image.copy()).permute(2, 0, 1) / 255, torch.from_numpy(labels.copy())
    if config.jitter:
        s = config.jitter
        brightness, contrast, saturation = rng.uniform(1 - s, 1 + s, 3).tolist()
        hue = float(rng.uniform(-s, s)) / 40
        changes = [
            lambda x: TF.adjust_brightness(x, brightness),
            lambda x: TF.adjust_contrast(x, contrast),
            lambda x: TF.adjust_saturation(x, saturation),
            lambda x: TF.adjust_hue(x, hue),
        ]
        for i in rng.permutation(4):
            image = changes[i](image)
    return TF.normalize(image, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), labels.long()


def class_tilt(logits, labels, t):
    """Eq. (3), image by image and class by class."""
    images = []
    for z, y in zip(logits, labels, strict=True):
        pixels = F.cross_entropy(z[None], y[None], ignore_index=VOID, reduction="none")[0]
        losses = torch.stack([pixels[y == c].mean() for c in y[y != VOID].unique()])
        images.append(torch.logsumexp(t * losses - np.log(len(losses)), 0) / t)
    return torch.stack(images).mean()


class Algorithm1:
    """Algorithm 1 in plain arithmetic: draws of step s use the losses up to step s - 1 - lookahead of the epoch."""

    def __init__(self, config, data):
        self.config, self.groups = config, overlapping(data.train.pixel_counts)
        self.average, self.visits = np.zeros(data.num_classes), np.zeros(data.num_classes, int)
        self.waiting = deque()

    def draw(self, step):
        while self.waiting and (step % STEPS == 0 or self.waiting[0][0] <= step - 1 - self.config.lookahead):
            self.update(*self.waiting.popleft()[1:])
        unvisited = self.visits == 0
        tilted = np.exp(self.config.t * np.log(np.maximum(self.average, 1e-300)) / self.config.t)  # e^{t L~}
        w = unvisited / unvisited.sum() if unvisited.any() else tilted / tilted.sum()
        generator = torch_generator(self.config.seed, Stream.DRAW, step)
        classes = [
            int(torch.multinomial(torch.from_numpy(w), 1, generator=generator)) for _ in range(self.config.batch_size)
        ]
        return [
            Draw(int(self.groups[c][int(torch.randint(len(self.groups[c]), (1,), generator=generator))]), c)
            for c in classes
        ]

    def update(self, draws, losses):
        for draw, loss in zip(draws, losses, strict=True):
            self.visits[draw.focus] += 1
            rate = max(self.config.gamma, 1 / self.visits[draw.focus])
            old = self.average[draw.focus]
            self.average[draw.focus] = (1 - rate) * old + rate * np.exp(self.config.t * loss)

    def learn(self, step, draws, logits, labels):
        pixels = F.cross_entropy(logits, labels, ignore_index=VOID, reduction="none")
        valid = labels != VOID
        losses = [float(p[v].mean()) for p, v in zip(pixels, valid, strict=True)]
        self.waiting.append((step, draws, losses))


def reference(config, data):
    """Return the weights after `EPOCHS` epochs of `STEPS` steps."""
    torch.manual_seed(torch_seed(config.seed, Stream.WEIGHTS))
    model = build_model(config, data.num_classes).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, EPOCHS * STEPS, config.poly_power)
    shuffle, stochastic = Shuffle(len(data.train), config.batch_size, config.seed), Algorithm1(config, data)
    for step in range(EPOCHS * STEPS):
        if step % STEPS == 0:
            torch.manual_seed(torch_seed(config.seed, Stream.DROPOUT, step // STEPS, 0))
        draws = (stochastic if config.loss == "stochastic_tilt" else shuffle).draw(step)
        crops = [crop_of(config, data, draw, step, i) for i, draw in enumerate(draws)]
        images, labels = (torch.stack(part) for part in zip(*crops, strict=True))
        logits = model(images.contiguous(memory_format=torch.channels_last))
        if config.loss == "class_tilt":
            loss = class_tilt(logits, labels, config.t)
        else:
            loss = F.cross_entropy(logits, labels, ignore_index=VOID)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if config.loss == "stochastic_tilt":
            stochastic.learn(step, draws, logits.detach(), labels)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def trained(config, data):
    run = Run(config, data, CPU)
    start = torch.cat([p.detach().flatten() for p in run.model.parameters()])
    for epoch in range(EPOCHS):
        run.model.train()
        for step in range(epoch * STEPS, (epoch + 1) * STEPS):
            if step % STEPS == 0:
                torch.manual_seed(torch_seed(config.seed, Stream.DROPOUT, epoch, 0))
            run.step(step)
        run.feed.end_epoch()
        run.epoch += 1
    run.close()
    return torch.cat([p.detach().flatten() for p in run.model.parameters()]), start


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "mcce"},
        {"loss": "class_tilt", "t": 1.5},
        {"loss": "stochastic_tilt", "t": 1.5, "lookahead": 0},
        {"loss": "stochastic_tilt", "t": 1.5, "lookahead": 2},
    ],
    ids=lambda s: f"{s['loss']}{s.get('lookahead', '')}",
)
def test_the_weights_are_those_of_a_plain_loop(fast_config, streets, settings):
    # Sums are taken in another order. An untrained model amplifies that: over these steps to at most 1e-4 of the way.
    config = fast_config(jitter=0.0, epochs=EPOCHS, steps_per_epoch=STEPS, lr=0.001, **settings)
    ours, start = trained(config, streets)
    expected = reference(config, streets)
    assert (ours - expected).norm() < 3e-4 * (expected - start).norm()


def test_the_images_are_those_of_a_plain_loop(fast_config, streets):
    # Only colour jitter differs: torchvision clips after each change, and its hue is not affine.
    config = fast_config(jitter=0.4)
    draws = [Draw(i) for i in range(len(streets.train))]
    crops = CropSettings(config.crop, config.scale, config.flip, config.jitter)
    batches = Batches(streets.train, crops, config.seed, threads=1)
    batch = batches.start(draws, step=3, first=0).wait()
    batches.close()
    ours = normalise(batch.images, batch.colours)
    expected = torch.stack([crop_of(config, streets, draw, 3, i)[0] for i, draw in enumerate(draws)])
    grey_levels = 255 * 0.225 * (ours - expected).abs()  # ImageNet's standard deviations are about 0.225
    assert grey_levels.mean() < 1
    assert grey_levels.quantile(0.99) < 10
