"""A second implementation of the method: slow, simple, and without any code of the package.

It caches nothing. Prompts are padded to the full length of the text tower. Every step encodes the texts of all classes seen so
far, every head epoch computes the image features again, and the initial gap is measured on every task. Adam and the cosine
schedule are formulas, LoRA is a module around a linear layer, and the image transform uses Pillow and NumPy.

``python tests/reference.py CLIP DATA.npz CONFIG.json OUT`` writes a recording that ``mgclip conform OUT`` can replay.
"""

import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file


class Lora(torch.nn.Module):
    def __init__(self, linear, rank, alpha, down):
        super().__init__()
        self.linear, self.scale = linear, alpha / rank
        self.A = torch.nn.Parameter(down.clone())
        self.B = torch.nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x):
        return self.linear(x) + self.scale * ((x @ self.A.T) @ self.B.T)


class Adam:
    def __init__(self, weights):
        self.weights, self.t = weights, 0
        self.m = [torch.zeros_like(w) for w in weights]
        self.v = [torch.zeros_like(w) for w in weights]

    @torch.no_grad()
    def step(self, lr):
        self.t += 1
        for w, m, v in zip(self.weights, self.m, self.v, strict=True):
            m.copy_(0.9 * m + 0.1 * w.grad)
            v.copy_(0.999 * v + 0.001 * w.grad**2)
            w -= lr * (m / (1 - 0.9**self.t)) / ((v / (1 - 0.999**self.t)).sqrt() + 1e-8)
            w.grad = None


def cosine(step, total, lr):
    return 0.01 * lr + 0.5 * 0.99 * lr * (1 + math.cos(math.pi * step / total))


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


class Reference:
    """A CLIP with adapters and a head, computed in the simplest way."""

    def __init__(self, clip_folder, config, down=None):
        from transformers import CLIPModel, CLIPTokenizer

        self.config = config
        self.model = CLIPModel.from_pretrained(clip_folder, dtype=torch.float32).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(clip_folder)
        self.transform = json.loads((Path(clip_folder) / "preprocessor_config.json").read_text())
        self.model.requires_grad_(False)
        self.loras = {}
        generator = torch.Generator().manual_seed(5)
        for tower in ("vision", "text"):
            for i, layer in enumerate(getattr(self.model, f"{tower}_model").encoder.layers):
                for short in "kv":
                    name, linear = f"{tower}.{i}.{short}", getattr(layer.self_attn, f"{short}_proj")
                    a = torch.randn(config["adapter_rank"], linear.in_features, generator=generator) * 0.1
                    lora = Lora(
                        linear,
                        config["adapter_rank"],
                        config["adapter_alpha"],
                        a if down is None else down[f"{name}.A"],
                    )
                    setattr(layer.self_attn, f"{short}_proj", lora)
                    self.loras[name] = lora
        self.head = torch.empty(0, self.model.config.projection_dim)

    def adapters(self):
        return {f"{n}.{m}": getattr(lora, m).detach().clone() for n, lora in self.loras.items() for m in "AB"}

    def restore(self, state):
        with torch.no_grad():
            for n, lora in self.loras.items():
                lora.A.copy_(state[f"{n}.A"])
                lora.B.copy_(state[f"{n}.B"])

    def pixels(self, image):
        size = self.transform["size"]["shortest_edge"]
        image = Image.fromarray(np.asarray(image)).convert("RGB")
        short, long = sorted(image.size)
        other = int(size * long / short)
        image = image.resize((size, other) if image.width <= image.height else (other, size), Image.Resampling.BICUBIC)
        left, top = (image.width - size) // 2, (image.height - size) // 2
        crop = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float64) / 255
        normal = (crop - np.array(self.transform["image_mean"])) / np.array(self.transform["image_std"])
        return torch.tensor(normal.transpose(2, 0, 1), dtype=torch.float32)

    def image_features(self, images):
        x = torch.stack([self.pixels(image) for image in images])
        return unit(self.model.visual_projection(self.model.vision_model(pixel_values=x).pooler_output))

    def text_features(self, names):
        length = self.model.config.text_config.max_position_embeddings
        texts = [self.config["prompt"].replace("{}", name) for name in names]
        ids = self.tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")["input_ids"]
        return unit(self.model.text_projection(self.model.text_model(input_ids=ids).pooler_output))

    def text_logits(self, images, names):
        return self.model.logit_scale.exp() * self.image_features(images) @ self.text_features(names).T

    def gap(self, images, labels, names, batch):
        with torch.no_grad():
            positive, negative = [], []
            for k in range(0, len(images), batch):
                z, y = self.text_logits(images[k : k + batch], names), labels[k : k + batch]
                own = [z[i, c].item() for i, c in enumerate(y)]
                rest = [(z[i].sum().item() - own[i]) / (len(names) - 1) for i in range(len(y))]
                positive.append(np.mean(own))
                negative.append(np.mean(rest))
        return {"positive": float(np.mean(positive)), "negative": float(np.mean(negative))}

    def adapter_epoch(self, images, labels, names, first, lr, optimizer):
        batch, losses = self.config["adapter_batch_size"], []
        for k in range(0, len(images), batch):
            z = self.text_logits(images[k : k + batch], names)[:, first:]
            loss = torch.nn.functional.cross_entropy(z, torch.tensor(labels[k : k + batch]) - first)
            loss.backward()
            optimizer.step(lr)
            losses.append(loss.item())
        return losses

    def optimizer(self):
        return Adam([w for lora in self.loras.values() for w in (lora.A, lora.B)])

    def head_phase(self, images, labels, count, first):
        config, batch, losses = self.config, self.config["head_batch_size"], []
        with torch.no_grad():
            features = self.image_features(images)
            means = [features[[i for i, y in enumerate(labels) if y == c]].mean(0) for c in range(first, count)]
        head = torch.cat([self.head, torch.stack(means)]).requires_grad_()
        optimizer, steps = Adam([head]), -(-len(images) // batch)
        for epoch in range(config["head_epochs"]):
            for n, k in enumerate(range(0, len(images), batch)):
                with torch.no_grad():
                    f = self.image_features(images[k : k + batch])
                z = (f @ unit(head).T)[:, first:]
                loss = torch.nn.functional.cross_entropy(z, torch.tensor(labels[k : k + batch]) - first)
                loss.backward()
                optimizer.step(cosine(epoch * steps + n, config["head_epochs"] * steps, config["head_lr"]))
                losses.append(loss.item())
        self.head = head.detach()
        return losses

    def predict(self, images, names):
        with torch.no_grad():
            beta = self.config["vision_weight"]
            text = self.text_logits(images, names).softmax(1).softmax(1)
            image = (self.image_features(images) @ unit(self.head).T).softmax(1)
            return (((text + beta * image) / (1 + beta)).argmax(1)).tolist()


def record(clip_folder, data, config, out, probe=None, still=()):
    """Run the method on ``data`` (x_train, y_train, x_test, y_test, class_names) and write a recording into ``out``.

    The adapters of the projections in ``still`` (``vision.3.k``) start with A = 0 as well as B = 0, so training never changes them.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    if "clip" not in config:  # a recording that names its CLIP needs no copy of it
        shutil.copytree(clip_folder, out / "clip-mini")
    np.savez_compressed(out / "photos.npz", **data)
    model, untuned = Reference(clip_folder, config), Reference(clip_folder, config)
    for name in still:
        model.loras[name].A.data.zero_()
    initial = model.adapters()
    save_file({k: v.contiguous() for k, v in initial.items()}, out / "adapter_init.safetensors")
    order, label_of = config["class_order"], {c: i for i, c in enumerate(config["class_order"])}
    first, size, tasks = 0, config["initial_classes"], []

    def part(split, classes):
        chosen = [i for i, y in enumerate(data[f"y_{split}"]) if y in classes]
        return [data[f"x_{split}"][i] for i in chosen], [label_of[int(data[f"y_{split}"][i])] for i in chosen]

    if probe:
        classes = order[:size]
        images, labels = part("train", classes)
        write_probe(model, images, labels, [str(data["class_names"][c]) for c in classes], probe, out)
        model.restore(initial)
    while first < len(order):
        seen = min(first + size, len(order))
        names = [str(data["class_names"][c]) for c in order[:seen]]
        images, labels = part("train", order[first:seen])
        origin = untuned.gap(images, labels, names, config["adapter_batch_size"])
        optimizer, losses = model.optimizer(), []
        for epoch in range(config["epochs"]):
            lr = cosine(epoch, config["epochs"], config["adapter_lr"])
            losses += model.adapter_epoch(images, labels, names, first, lr, optimizer)
        head_losses = model.head_phase(images, labels, seen, first)
        tests, targets = part("test", order[:seen])
        predictions = model.predict(tests, names)
        tasks.append({
            "task": len(tasks), "classes": order[first:seen], "zero_shot_positive_logit": origin["positive"],
            "zero_shot_negative_logit": origin["negative"], "adapter_losses": losses, "head_losses": head_losses,
            "predictions": predictions, "targets": targets,
        })  # fmt: skip
        first, size = seen, config["classes_per_task"]
    save_file({**model.adapters(), "head.weight": model.head.contiguous()}, out / "final.safetensors")
    (out / "trace.json").write_text(json.dumps({"config": config, "tasks": tasks}))


def write_probe(model, images, labels, names, probe, out):
    batch = probe["adapter_batch_size"]
    model.config = {**model.config, "adapter_batch_size": batch}
    origin, optimizer, losses, epochs = model.gap(images, labels, names, batch), model.optimizer(), [], []
    chosen = probe["max_epochs"]
    for epoch in range(probe["max_epochs"]):
        lr = cosine(epoch, probe["max_epochs"], probe["adapter_lr"])
        losses += model.adapter_epoch(images, labels, names, 0, lr, optimizer)
        epochs.append(model.gap(images, labels, names, batch))
        if abs(epochs[-1]["negative"] - origin["negative"]) > probe["alpha"] * abs(origin["negative"]):
            chosen = max(1, epoch)
            break
    result = {"config": probe, "zero_shot": origin, "epochs": epochs, "losses": losses, "chosen_epochs": chosen}
    (out / "probe.json").write_text(json.dumps(result))


if __name__ == "__main__":
    clip, photos, settings, target = sys.argv[1:]
    with np.load(photos) as loaded:
        record(clip, dict(loaded), json.loads(Path(settings).read_text()), target)
