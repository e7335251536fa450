"""Holds a policy that Armilla wrote against LeRobot: the same observations and noise, the same actions, loss and gradients.

    cargo build --release
    python scripts/lerobot_policy_check.py CHECKPOINT     # with lerobot[diffusion]==0.6.1
"""
import argparse
import copy
import subprocess
import tempfile
from pathlib import Path
from unittest.mock import patch

import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from safetensors.torch import load_file, save_file

ARMILLA = Path(__file__).parents[1] / "target/release/armilla"
BATCH = 2


def armilla(verb, checkpoint, arrays, folder, *more):
    files = [folder / "in.safetensors", folder / "out.safetensors"]
    save_file({key: tensor.contiguous() for key, tensor in arrays.items()}, files[0])
    command = [ARMILLA, "policy", verb, checkpoint, "--input", files[0], "--output", files[1], *more]
    subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return load_file(files[1])


def apart(ours, theirs):
    """Relative to the largest value."""
    return ((ours.reshape(theirs.shape) - theirs).abs().max() / theirs.abs().max().clamp_min(1e-6)).item()


def observations(config):
    """Of each feature `[batch, (history,) ...]`, pictures in [0, 1]."""
    history = [config.n_obs_steps] if config.type == "diffusion" else []
    shapes = {key: [BATCH, *history, *feature.shape] for key, feature in config.input_features.items()}
    return {key: torch.rand(shape) if "image" in key else torch.randn(shape) for key, shape in shapes.items()}


def check(checkpoint):
    config = PreTrainedConfig.from_pretrained(checkpoint)
    config.device = "cpu"
    policy = get_policy_class(config.type).from_pretrained(checkpoint, config=config, strict=True).eval()
    pre, post = make_pre_post_processors(config, pretrained_path=str(checkpoint))
    seen, width = observations(config), config.output_features["action"].shape[0]
    horizon = config.chunk_size if config.type == "act" else config.horizon
    noise = torch.randn(BATCH, horizon, width)
    actions, is_pad = torch.randn(BATCH, horizon, width), torch.zeros(BATCH, horizon, dtype=torch.bool)
    is_pad[1, horizon - 2 :] = True
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        folder = Path(folder)
        given = {"noise": noise} if config.type == "diffusion" else {}
        ours = armilla("infer", checkpoint, seen | given, folder)
        batch = pre(dict(seen))
        theirs = policy.predict_action_chunk(batch, **given)
        print(f"actions, normalised: {apart(ours['action_normalized'], theirs):.1e} apart, relative to the largest")
        print(f"actions: {apart(ours['action'], post(theirs)):.1e} apart")
    loss(policy, checkpoint, pre, seen | {"action": actions}, is_pad, noise)


def loss(policy, checkpoint, pre, batch, is_pad, noise):
    """Dropout and crops, which no file fixes here, are left out."""
    policy.train()
    for module in policy.modules():
        if isinstance(module, (torch.nn.Dropout, torch.nn.MultiheadAttention)):
            (module.eval() if isinstance(module, torch.nn.Dropout) else setattr(module, "dropout", 0.0))
    steps = torch.tensor([1, 50])
    given = {"noise": noise, "timesteps": steps.float()}
    if policy.config.type == "act":
        style = torch.randn(BATCH, policy.config.latent_dim)
        given = {"vae_eps": style}
    else:
        size = policy.config.crop_shape
        given["crop"] = torch.zeros(2 * len(policy.config.image_features))
        corner = staticmethod(lambda _image, size: (0, 0, *size))
    patches = [patch("torch.randn_like", lambda *_, **__: given["vae_eps"])] if policy.config.type == "act" else [
        patch("torch.randn", lambda *_, **__: noise.to(torch.get_default_dtype())),
        patch("torch.randint", lambda **_: steps),
        patch("torchvision.transforms.RandomCrop.get_params", corner),
    ]
    for one in patches:
        one.start()
    seen = pre(dict(batch)) | {"action_is_pad": is_pad}
    theirs, gradients = differentiate(policy, seen)
    # The same in 64 bits tells what rounding alone does to a gradient.
    wide = {key: value.double() if torch.is_tensor(value) and value.is_floating_point() else value for key, value in seen.items()}
    torch.set_default_dtype(torch.float64)
    _, exact = differentiate(copy.deepcopy(policy).double(), wide)
    torch.set_default_dtype(torch.float32)
    for one in patches:
        one.stop()
    with tempfile.TemporaryDirectory() as folder:
        arrays = batch | given | {"action_is_pad": is_pad}
        ours = armilla("loss", checkpoint, arrays, Path(folder), "--grads")
    print(f"loss: {apart(ours['loss'], theirs):.1e} apart")
    own = {name: ours[f"grad.{name}"].reshape(gradient.shape) for name, gradient in gradients.items()}
    for name, sides in [("ours and LeRobot's", (own, gradients)), ("ours and 64 bits'", (own, exact)), ("LeRobot's and 64 bits'", (gradients, exact))]:
        worst, parameter = furthest(*sides)
        print(f"gradients of {len(gradients)} parameters, {name}: {worst:.1e} apart at most, {parameter}")


def differentiate(policy, batch):
    """The loss, and its gradient for each parameter that has one."""
    policy.zero_grad(set_to_none=True)
    value, _ = policy(batch)
    value.backward()
    return value.detach(), {name: parameter.grad.clone() for name, parameter in policy.named_parameters() if parameter.grad is not None}


def furthest(ours, theirs):
    """The largest distance of a parameter's gradients, relative to its largest value, and that parameter."""
    floor = 1e-5 * max(gradient.abs().max() for gradient in theirs.values())
    apart = {name: (ours[name] - gradient).abs().max() / gradient.abs().max().clamp_min(floor) for name, gradient in theirs.items()}
    # What is no number is the furthest of all.
    name = max(apart, key=lambda name: apart[name].nan_to_num(float("inf")).item())
    return apart[name].item(), name


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    torch.manual_seed(0)
    check(parser.parse_args().checkpoint)
