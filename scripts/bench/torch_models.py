#!/usr/bin/env python3
"""The work of `armilla bench` in PyTorch: the same shapes, medians; on the CPU two threads, eager, f32 unless told otherwise.

    python scripts/bench/torch_models.py [NAME...] [--seconds 3] [--device cuda --dtype bf16 --compile]

prints one JSON object. Needs torch. `--dtype bf16` is PyTorch's autocast, `--compile` its `torch.compile`.
"""

import argparse
import json
import math
import resource
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

SIDE, BATCH, CLASSES = 64, 64, 10


class How:
    """Where and how it is computed; set once by `main`."""

    device, autocast, compile = "cpu", False, False

    @classmethod
    def prepared(cls, work):
        """`work`, compiled and in mixed precision where asked."""
        work = torch.compile(work) if cls.compile else work

        def run():
            with torch.autocast(torch.device(cls.device).type, torch.bfloat16, enabled=cls.autocast):
                return work()

        return run

    @classmethod
    def wait(cls):
        if cls.device.startswith("cuda"):
            torch.cuda.synchronize()

    @classmethod
    def peak_memory_mib(cls):
        if cls.device.startswith("cuda"):
            return torch.cuda.max_memory_reserved() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def repeat(seconds, work):
    def once():
        start = time.perf_counter()
        work()
        How.wait()
        return time.perf_counter() - start

    for _ in range(2):
        once()
    begin, times = time.perf_counter(), []
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        times.append(once())
    return times


def stepper(model, loss):
    """One step as our trainer's: backward, clipping, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.01)
    loss = How.prepared(loss)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def evaluated(model, work):
    model.eval()
    work = How.prepared(work)

    def run():
        with torch.inference_mode():
            work()

    return run


def pictures(count):
    return (torch.randn(count, 3, SIDE, SIDE) * 0.2).clamp(-0.5, 0.5)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.heads = heads

    def forward(self, x, context, mask=None):
        def split(tokens):
            return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        query, key, value = split(self.query(x)), split(self.key(context)), split(self.value(context))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.output(attended.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width, heads, ratio=4, activation=nn.ReLU):
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.feed = nn.Sequential(nn.Linear(width, ratio * width), activation(), nn.Linear(ratio * width, width))

    def forward(self, x, mask=None):
        normed = self.first(x)
        x = x + self.attention(normed, normed, mask)
        return x + self.feed(self.second(x))


class AdaLnBlock(nn.Module):
    def __init__(self, width, heads, ratio=2):
        super().__init__()
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.attention = Attention(width, heads)
        self.feed = nn.Sequential(nn.Linear(width, ratio * width), nn.ReLU(), nn.Linear(ratio * width, width))
        self.width = width

    def forward(self, x, condition):
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(F.silu(condition)).chunk(6, -1)
        normed = F.layer_norm(x, (self.width,)) * (1 + scale) + shift
        x = x + self.attention(normed, normed) * gate
        normed = F.layer_norm(x, (self.width,)) * (1 + scale2) + shift2
        return x + self.feed(normed) * gate2


class Vit(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 192, 8, 8)
        self.positions = nn.Parameter(torch.randn(64, 192) * 0.02)
        self.blocks = nn.ModuleList(Block(192, 3, activation=nn.GELU) for _ in range(6))
        self.norm, self.head = nn.LayerNorm(192), nn.Linear(192, CLASSES)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


def cnn():
    layers = []
    for inputs, outputs in zip([3, 32, 64, 128], [32, 64, 128, 256]):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * 16, CLASSES))


def forward(model):
    images = pictures(BATCH)
    return evaluated(model, lambda: model(images))


def supervised(model):
    images, targets = pictures(BATCH), torch.randn(BATCH, CLASSES)
    return stepper(model, lambda: F.mse_loss(model(images), targets))


class Jepa(nn.Module):
    """`JepaConfig::nano` with a rollout of one step."""

    LATENT, EMBEDDING, HIDDEN, BLOCK = 128, 32, 256, 10

    def __init__(self):
        super().__init__()

        def conv(inputs, outputs):
            return [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.SiLU()]

        self.encoder = nn.Sequential(*conv(3, 16), *conv(16, 32), *conv(32, 64), *conv(64, 64), nn.Flatten())
        free = self.LATENT - self.EMBEDDING

        def layer(inputs):
            return [nn.Linear(inputs, 256), nn.BatchNorm1d(256), nn.SiLU()]

        self.projector = nn.Sequential(*layer(1024), nn.Linear(256, free))
        self.embedder = nn.Sequential(*layer(1024), *layer(256), *layer(256), nn.Linear(256, self.EMBEDDING))
        self.state = nn.Linear(self.LATENT, 256)
        self.action = nn.Sequential(nn.Linear(self.BLOCK, 32), nn.SiLU(), nn.Linear(32, 256))
        self.layers = nn.ModuleList(nn.Linear(256, 256) for _ in range(2))
        self.change = nn.Linear(256, self.LATENT)
        self.inverse = nn.Sequential(nn.Linear(free, 256), nn.SiLU(), nn.Linear(256, 2))
        self.first = nn.Linear(self.LATENT, 16 * 64)
        self.doublings = nn.ModuleList(nn.Linear(i, 4 * o) for i, o in zip([64, 64, 32, 16], [64, 32, 16, 3]))

    def encode(self, images):
        features = self.encoder(images)
        return torch.cat([self.projector(features), self.embedder(features)], 1)

    def predict(self, latent, block):
        hidden = F.silu(self.state(latent) + self.action(block))
        for layer in self.layers:
            hidden = hidden + F.silu(layer(hidden))
        return latent + self.change(hidden)

    def decode(self, latents):
        picture = self.first(latents).view(-1, 64, 4, 4).permute(0, 2, 3, 1)
        for doubling in self.doublings:
            blocks = doubling(F.silu(picture))
            batch, height, width, channels = blocks.shape
            blocks = blocks.view(batch, height, width, 2, 2, channels // 4).transpose(2, 3)
            picture = blocks.reshape(batch, 2 * height, 2 * width, channels // 4)
        return picture

    def distance(self, a, b):
        apart = a[..., -self.EMBEDDING :] - b[..., -self.EMBEDDING :]
        return (apart.square().sum(-1) * 16 + 1e-4).sqrt() - 1e-2


def sigreg(latents, projections=256):
    directions = torch.randn(latents.shape[-1], projections)
    directions = directions / directions.norm(dim=0)
    knots = torch.linspace(0, 3, 17)
    angles = (latents @ directions).unsqueeze(-1) * knots
    normal = (-0.5 * knots.square()).exp()
    weights = torch.full((17,), 2 * 3 / 16)
    weights[0] = weights[-1] = 3 / 16
    error = (angles.cos().mean(1) - normal).square() + angles.sin().mean(1).square()
    return (error @ (weights * normal)).mean() * latents.shape[1]


def jepa_step():
    model = Jepa().train()
    batch, free = 128, Jepa.LATENT - Jepa.EMBEDDING
    images, blocks = pictures(3 * batch), torch.randn(batch, Jepa.BLOCK)
    steps = torch.full((batch, 5), 6.0)
    first, second = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 1, 2, 1, 2])

    def loss():
        frames = model.encode(images).view(batch, 3, Jepa.LATENT)
        held = torch.cat([frames[..., :free], frames[..., free:].detach()], -1)[:, :2]
        prediction = F.mse_loss(model.predict(held[:, 0], blocks), held[:, 1])
        inverse = F.mse_loss(model.inverse((held[:, 1] - held[:, 0])[:, :free]), blocks[:, :2])
        distance = F.huber_loss(model.distance(frames[:, first], frames[:, second]), steps)
        # As many as our batches on a CPU, of which there are two, or the one on a GPU.
        chosen = torch.randint(0, 3 * batch, (64 if How.device == "cpu" else 32,))
        decoded = model.decode(frames.detach().view(-1, Jepa.LATENT)[chosen])
        decoder = F.mse_loss(decoded, images[chosen].permute(0, 2, 3, 1))
        return prediction + 0.09 * sigreg(held[..., :free].transpose(0, 1)) + inverse + distance + decoder

    return stepper(model, loss)


def jepa_encode():
    model, images = Jepa(), pictures(128)
    return evaluated(model, lambda: model.encode(images))


def jepa_plan():
    model = Jepa()
    start, goal = torch.full((Jepa.LATENT,), 0.1), torch.full((Jepa.LATENT,), -0.1)

    def plan():
        mean, std = torch.zeros(5, 2), torch.full((5, 2), 0.8)
        for _ in range(30):
            actions = (mean + std * torch.randn(300, 5, 2)).clamp(-1, 1)
            actions[0] = mean
            latent = start.expand(300, -1)
            for step in range(5):
                latent = model.predict(latent, actions[:, step].repeat(1, 5))
            elites = actions[model.distance(latent, goal).topk(30, largest=False).indices]
            mean, std = elites.mean(0), elites.std(0)

    return evaluated(model, plan)


class Policy(nn.Module):
    """`FlowPolicyConfig::nano`."""

    WIDTH, HEADS, SLOTS, CHANNELS, TOKENS, HORIZON, DRAWS = 96, 4, 6, 64, 16, 8, 2

    def __init__(self):
        super().__init__()
        width, channels = self.WIDTH, self.CHANNELS
        self.embedding = nn.Embedding(100, width)
        self.text = Block(width, self.HEADS)
        self.stages = nn.Sequential(nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, channels, 4, 2, 1), nn.ReLU())
        self.mix = nn.Linear(channels, channels)
        self.slots = nn.Parameter(torch.randn(self.SLOTS, width) * 0.5)
        self.state, self.robot = nn.Linear(2, width), nn.Linear(2, 2)
        self.blocks = nn.ModuleList(Block(width, self.HEADS, 2) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.queries = nn.ModuleList(nn.Linear(width, channels) for _ in range(2))
        self.windows = nn.ModuleList(nn.Linear(width, 3) for _ in range(2))
        self.votes = nn.ModuleList(nn.Linear(channels, 2) for _ in range(2))
        self.values = nn.ModuleList(nn.Linear(channels, width) for _ in range(2))
        self.places = nn.ModuleList(nn.Linear(7, width) for _ in range(2))
        inputs = self.SLOTS * 7 + self.SLOTS * (self.SLOTS - 1) // 2 * 5 + (self.SLOTS + 2) * width
        self.summary = nn.Sequential(nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, width))
        self.action_in, self.time = nn.Linear(2, width), nn.Linear(width, width)
        self.positions = nn.Parameter(torch.randn(self.HORIZON, width) * 0.5)
        self.cross_norm, self.cross = nn.LayerNorm(width), Attention(width, self.HEADS)
        self.expert = nn.ModuleList(AdaLnBlock(width, self.HEADS) for _ in range(2))
        self.norm, self.action_out = nn.LayerNorm(width), nn.Linear(width, 2)
        axis = (torch.arange(16) * 2 + 1) / 16 - 1
        centers = torch.stack([axis.repeat(16), axis.repeat_interleave(16)], -1)
        self.register_buffer("cells", torch.cat([centers, centers.square().sum(-1, keepdim=True)], -1))

    def see(self, images):
        grid = self.stages(images * 6).permute(0, 2, 3, 1)
        share = self.CHANNELS // 8
        parts = [torch.zeros_like(grid[..., :share]) for _ in range(4)]
        parts[0][:, 1:] = grid[:, :-1, :, :share]
        parts[1][:, :-1] = grid[:, 1:, :, share : 2 * share]
        parts[2][:, :, 1:] = grid[:, :, :-1, 2 * share : 3 * share]
        parts[3][:, :, :-1] = grid[:, :, 1:, 3 * share : 4 * share]
        shifted = torch.cat([*parts, grid[..., 4 * share :]], -1)
        return (grid + F.relu(self.mix(shifted))).flatten(1, 2)

    @staticmethod
    def describe(offset):
        length = (offset.square().sum(-1, keepdim=True) + 0.03**2).sqrt()
        return torch.cat([offset * 2, length, offset / length], -1)

    def context(self, images, tokens, state):
        batch = len(images)
        allowed = torch.ones(batch, 1, 1, self.TOKENS, dtype=torch.bool)
        text = self.text(self.embedding(tokens), allowed)
        language = text.mean(1)
        image = self.see(images)
        robot, state = self.robot(state).unsqueeze(1), self.state(state)
        x = torch.cat([self.slots.expand(batch, -1, -1), state.unsqueeze(1), text], 1)
        allowed = torch.ones(batch, 1, 1, x.shape[1], dtype=torch.bool)
        questions = None
        for index, block in enumerate(self.blocks):
            x = block(x, allowed)
            asking = x[:, : self.SLOTS]
            normed = self.norms[index](asking)
            what, wish = self.queries[index](normed) * 0.5, self.windows[index](normed)
            questions = what if questions is None else questions
            sharpness = (wish[..., 2:] * 3).clamp(max=5).exp() * 0.5
            window = torch.cat([(robot + wish[..., :2]) * sharpness * 2, -sharpness], -1) @ self.cells.T
            weights = (what @ image.transpose(1, 2) + window).softmax(-1)
            features = weights @ image
            places = weights @ self.cells[:, :2] + self.votes[index](features)
            placed = torch.cat([places, self.describe(places - robot)], -1)
            answer = self.values[index](features) + self.places[index](placed)
            x = torch.cat([asking + answer, x[:, self.SLOTS :]], 1)
        offsets = [places - robot]
        offsets += [places[:, :slot] - places[:, slot : slot + 1] for slot in range(1, self.SLOTS)]
        geometry = torch.cat([places.flatten(1), self.describe(torch.cat(offsets, 1)).flatten(1)], 1)
        summary = self.summary(torch.cat([geometry, x[:, : self.SLOTS].flatten(1), language, state], 1))
        return x, summary, questions, image

    def clean(self, point, times, x, summary):
        rows, batch = len(point), len(x)
        draws = rows // batch
        frequencies = torch.exp(torch.linspace(math.log(1.5), math.log(1500), self.WIDTH // 2))
        phases = times.unsqueeze(-1) * frequencies
        embedded = self.time(torch.cat([phases.sin(), phases.cos()], -1)).unsqueeze(1)
        condition = summary.repeat_interleave(draws, 0).unsqueeze(1) + embedded
        tokens = (self.action_in(point) + self.positions + condition).view(batch, draws * self.HORIZON, -1)
        allowed = torch.ones(batch, 1, 1, x.shape[1], dtype=torch.bool)
        tokens = (tokens + self.cross(self.cross_norm(tokens), x, allowed)).view(rows, self.HORIZON, -1)
        for block in self.expert:
            tokens = block(tokens, condition)
        return self.action_out(self.norm(tokens))

    def chunk(self, observation, noise):
        x, summary, _, _ = self.context(*observation)
        point = noise
        for step in range(5):
            times = torch.full((len(noise),), 1 - step / 5)
            velocity = (point - self.clean(point, times, x, summary)) / times.clamp(min=0.01).view(-1, 1, 1)
            point = point - velocity / 5
        return point


def observations(count):
    return pictures(count), torch.randint(0, 100, (count, Policy.TOKENS)), torch.randn(count, 2)


def policy_chunk(count):
    model, observation, noise = Policy(), observations(count), torch.randn(count, Policy.HORIZON, 2)
    return evaluated(model, lambda: model.chunk(observation, noise))


def policy_step():
    model, batch = Policy().train(), 48
    observation, actions = observations(batch), torch.randn(batch, Policy.HORIZON, 2).clamp(-1, 1)
    # The grounding loss tells pictures apart within a batch: of 24 in each of our two on a CPU, of all on a GPU.
    halves = 2 if How.device == "cpu" else 1
    size = batch // halves
    own = torch.eye(size).repeat_interleave(2, 0)

    def grounding(questions, image):
        scores = questions[:, :2].flatten(0, 1) @ image.flatten(0, 1).T
        of_picture = scores.view(2 * size, size, -1).logsumexp(-1)
        return -(of_picture.log_softmax(-1) * own).sum(-1).mean()

    def loss():
        x, summary, questions, image = model.context(*observation)
        target = actions.repeat_interleave(Policy.DRAWS, 0)
        noise, times = torch.randn_like(target), torch.rand(len(target))
        point = target + (noise - target) * times.view(-1, 1, 1)
        error = F.mse_loss(model.clean(point, times, x, summary), target)
        parts = [grounding(*part) for part in zip(questions.split(size), image.split(size))]
        return error + 0.2 * sum(parts) / halves

    return stepper(model, loss)


class LeWm(nn.Module):
    """LeWorldModel; its predictor drops nothing."""

    LATENT, HISTORY, BLOCK = 192, 3, 10

    class Conditional(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.modulation = nn.Linear(width, 6 * width)
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)
            self.query, self.key, self.value = (nn.Linear(width, 1024, bias=False) for _ in range(3))
            self.output, self.inner = nn.Linear(1024, width), nn.LayerNorm(width)
            self.feed = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2048), nn.GELU(), nn.Linear(2048, width))
            self.width = width

        def attend(self, x):
            x = self.inner(x)
            parts = [part(x).unflatten(-1, (16, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)]
            return self.output(F.scaled_dot_product_attention(*parts, is_causal=True).transpose(1, 2).flatten(2))

        def forward(self, x, condition):
            shift, scale, gate, shift2, scale2, gate2 = self.modulation(F.silu(condition)).chunk(6, -1)
            x = x + self.attend(F.layer_norm(x, (self.width,)) * (1 + scale) + shift) * gate
            return x + self.feed(F.layer_norm(x, (self.width,)) * (1 + scale2) + shift2) * gate2

    def __init__(self):
        super().__init__()
        width = self.LATENT

        def projector():
            return nn.Sequential(nn.Linear(width, 2048), nn.BatchNorm1d(2048), nn.GELU(), nn.Linear(2048, width))

        self.patches = nn.Conv2d(3, width, 14, 14)
        self.class_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.cells = nn.Parameter(torch.randn(257, width) * 0.02)
        self.encoder = nn.ModuleList(Block(width, 3, activation=nn.GELU) for _ in range(12))
        self.encoder_norm = nn.LayerNorm(width)
        self.projector, self.prediction = projector(), projector()
        self.action = nn.Sequential(nn.Linear(self.BLOCK, 10), nn.Linear(10, 768), nn.SiLU(), nn.Linear(768, width))
        self.positions = nn.Parameter(torch.randn(self.HISTORY, width))
        self.blocks = nn.ModuleList(self.Conditional(width) for _ in range(6))
        self.norm = nn.LayerNorm(width)

    def encode(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1) + self.cells
        for block in self.encoder:
            x = block(x)
        return self.projector(self.encoder_norm(x)[:, 0])

    def predict(self, latents, blocks):
        x, condition = latents + self.positions[: latents.shape[1]], self.action(blocks)
        for block in self.blocks:
            x = block(x, condition)
        x = self.norm(x)
        return self.prediction(x.flatten(0, 1)).view_as(x)

    def loss(self, images, blocks):
        windows = len(blocks)
        latents = self.encode(images).view(windows, -1, self.LATENT)
        predicted = self.predict(latents[:, : self.HISTORY], blocks)
        return F.mse_loss(predicted, latents[:, 1:]) + 0.09 * sigreg(latents.transpose(0, 1), 1024)


def lewm_windows():
    return torch.randn(8 * 4, 3, 224, 224), torch.randn(8, LeWm.HISTORY, LeWm.BLOCK)


def lewm_forward():
    model, (images, blocks) = LeWm(), lewm_windows()
    return evaluated(model, lambda: model.loss(images, blocks))


def lewm_step():
    model, (images, blocks) = LeWm().train(), lewm_windows()
    return stepper(model, lambda: model.loss(images, blocks))


def lewm_plan():
    model = LeWm()
    start, goal = torch.randn(1, 1, LeWm.LATENT), torch.randn(1, LeWm.LATENT)

    def plan():
        for _ in range(30):
            blocks = torch.randn(300, 5, LeWm.BLOCK)
            latents = start.expand(300, -1, -1)
            for step in range(5):
                first = max(0, step + 1 - LeWm.HISTORY)
                following = model.predict(latents[:, first:], blocks[:, first : step + 1])[:, -1:]
                latents = torch.cat([latents, following], 1)
            (latents[:, -1] - goal).square().sum(-1).topk(30, largest=False)

    return evaluated(model, plan)


def lerobot_policy(kind, cameras=1, **settings):
    """A policy of LeRobot's as published, with random weights, and a batch of so many observations for it."""
    from lerobot.configs import FeatureType, PolicyFeature

    if kind == "act":
        from lerobot.policies.act.configuration_act import ACTConfig as Config
        from lerobot.policies.act.modeling_act import ACTPolicy as Kind

        picture, values = (3, 480, 640), 14
    else:
        from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig as Config
        from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy as Kind

        picture, values = (3, 96, 96), 2
    names = [f"observation.images.{camera}" for camera in range(cameras)]
    config = Config(
        device=How.device,
        pretrained_backbone_weights=None,
        input_features={
            **{name: PolicyFeature(FeatureType.VISUAL, picture) for name in names},
            "observation.state": PolicyFeature(FeatureType.STATE, (values,)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (values,))},
        **settings,
    )

    def batch(count):
        history = [config.n_obs_steps] if kind == "diffusion" else []
        observed = {name: torch.rand(count, *history, *picture) for name in names}
        return observed | {"observation.state": torch.randn(count, *history, values)}

    return Kind(config), batch


def lerobot_chunk(kind, **settings):
    policy, batch = lerobot_policy(kind, **settings)
    seen = batch(1)
    if kind == "diffusion":
        # What `predict_action_chunk` makes of its queues.
        images = torch.stack([seen[name] for name in policy.config.image_features], dim=-4)
        seen = {"observation.state": seen["observation.state"], "observation.images": images}
        return evaluated(policy, lambda: policy.diffusion.generate_actions(seen))
    return evaluated(policy, lambda: policy.predict_action_chunk(seen))


# As published: LeRobot 0.6 has other defaults.
DIFFUSION = dict(
    n_obs_steps=2, horizon=16, n_action_steps=8, resize_shape=None, crop_shape=(84, 84), crop_is_random=True,
    use_group_norm=True, spatial_softmax_num_keypoints=32, use_separate_rgb_encoder_per_camera=False,
    down_dims=(512, 1024, 2048), kernel_size=5, n_groups=8, diffusion_step_embed_dim=128, use_film_scale_modulation=True,
    num_train_timesteps=100,
)


def act_step():
    policy, batch = lerobot_policy("act", dropout=0.0)
    batch = batch(8) | {"action": torch.randn(8, 100, 14), "action_is_pad": torch.zeros(8, 100, dtype=torch.bool)}
    return stepper(policy.train(), lambda: policy(batch)[0])


WORK = {
    "vit-forward": lambda: forward(Vit()),
    "vit-step": lambda: supervised(Vit()),
    "cnn-forward": lambda: forward(cnn()),
    "cnn-step": lambda: supervised(cnn()),
    "world-model-encode": jepa_encode,
    "world-model-step": jepa_step,
    "world-model-plan": jepa_plan,
    "policy-chunk": lambda: policy_chunk(1),
    "policy-chunks": lambda: policy_chunk(64),
    "policy-step": policy_step,
    "lewm-forward": lewm_forward,
    "lewm-step": lewm_step,
    "lewm-plan": lewm_plan,
    "act-chunk": lambda: lerobot_chunk("act"),
    "act-chunk-two": lambda: lerobot_chunk("act", cameras=2),
    "act-step": act_step,
    "diffusion-ddpm": lambda: lerobot_chunk("diffusion", **DIFFUSION, noise_scheduler_type="DDPM", num_inference_steps=100),
    "diffusion-ddim": lambda: lerobot_chunk("diffusion", **DIFFUSION, noise_scheduler_type="DDIM", num_inference_steps=10),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*WORK, []])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda[:N]")
    parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    How.device, How.autocast, How.compile = arguments.device, arguments.dtype == "bf16", arguments.compile
    torch.set_default_device(arguments.device)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    results = []
    for name in arguments.names or WORK:
        times = repeat(arguments.seconds, WORK[name]())
        peak = How.peak_memory_mib()
        results.append(
            {
                "name": name,
                "median_ms": statistics.median(times) * 1e3,
                "fastest_ms": min(times) * 1e3,
                "repetitions": len(times),
                "peak_memory_mib": peak,
            }
        )
    print(json.dumps({"results": results, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
