"""What both demo models' training scripts share: token pools, the optimizer, the loop, and scores."""

import json
import math
import multiprocessing
import pathlib
import shutil
import time

import numpy as np
import torch
import torch.nn.functional as F

import train_tokenizer
import word_problems


# --- data -----------------------------------------------------------------------------------------------------------

def prompt_of(p: dict) -> str:
    return f"Question: {p['question']}\nAnswer:"


def completion_of(p: dict) -> str:
    return f" {p['answer']}"


def _encode_share(job):
    folder, split, count, seed, steps, largest, operand, first = job
    encode, _, _, eos, _ = train_tokenizer.load(folder)
    problems = list(word_problems.generate(split, count, seed, steps, largest, operand, first))
    prompts, completions = encode([prompt_of(p) for p in problems]), encode([completion_of(p) for p in problems])
    return [(a, b + [eos]) for a, b in zip(prompts, completions)]


def encode_pool(folder, split, count, seed, steps, largest, operand, workers=1):
    """ids [N, L] right padded, start [N] (first answer position), length [N]; answers end with the stop token."""
    share = -(-count // workers)
    jobs = [(str(folder), split, share, seed, steps, largest, operand, w * 10_000_000) for w in range(workers)]
    if workers == 1:
        rows = _encode_share(jobs[0])
    else:
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            rows = [r for part in pool.map(_encode_share, jobs) for r in part]
    pad = train_tokenizer.load(folder)[4]
    width = -(-max(len(a) + len(b) for a, b in rows) // 16) * 16
    ids = np.full((len(rows), width), pad, np.uint16)
    for i, (a, b) in enumerate(rows):
        ids[i, : len(a) + len(b)] = a + b
    return {"ids": ids, "start": np.array([len(a) for a, _ in rows], np.int32),
            "length": np.array([len(a) + len(b) for a, b in rows], np.int32)}


class Pool:
    """A token pool on a device. An epoch passes over all of it in an order of its own."""

    def __init__(self, arrays: dict, device):
        self.ids = torch.from_numpy(arrays["ids"].astype(np.int32)).to(device)
        self.start = torch.from_numpy(arrays["start"]).to(device)
        self.length = torch.from_numpy(arrays["length"]).to(device)
        self.device = device

    def __len__(self):
        return self.ids.shape[0]

    def rows(self, index):
        """ids [B, L], and a mask [B, L-1] of the positions whose next token belongs to the answer."""
        ids = self.ids[index].long()
        position = torch.arange(ids.shape[1] - 1, device=self.device) + 1
        mask = (position >= self.start[index, None]) & (position < self.length[index, None])
        return ids, mask

    def batches(self, size, seed):
        generator = torch.Generator(device="cpu").manual_seed(seed)
        while True:
            order = torch.randperm(len(self), generator=generator).to(self.device)
            for i in range(0, len(self) - size + 1, size):
                yield self.rows(order[i : i + size])


# --- optimizer ------------------------------------------------------------------------------------------------------

def orthogonalize(g, steps=5):
    """Nearest semi-orthogonal matrices to g [n, rows, cols] by the quintic Newton-Schulz iteration of Muon."""
    x = g.bfloat16() if g.is_cuda else g
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if tall else x


class Muon:
    """Momentum, orthogonalized per matrix. Parameters may be stacks [n, rows, cols] or plain [rows, cols]; `views` says
    how a fused parameter falls into matrices."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.0):
        # params: list of (parameter, shape of its matrices [n, rows, cols])
        self.groups = {}
        for p, shape in params:
            self.groups.setdefault(tuple(shape[1:]), []).append((p, shape))
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.buffers = {p: torch.zeros_like(p) for p, _ in params}

    @torch.no_grad()
    def step(self, factor):
        for (rows, cols), members in self.groups.items():
            updates = []
            for p, shape in members:
                buffer = self.buffers[p]
                buffer.lerp_(p.grad, 1 - self.momentum)
                updates.append(p.grad.lerp(buffer, self.momentum).reshape(shape))
            update = orthogonalize(torch.cat(updates)).float()
            scale = self.lr * factor * max(1.0, rows / cols) ** 0.5
            for (p, shape), u in zip(members, update.split([s[0] for _, s in members])):
                if self.weight_decay:
                    p.mul_(1 - self.lr * factor * self.weight_decay)
                p.add_(u.reshape(p.shape), alpha=-scale)


# --- the loop -------------------------------------------------------------------------------------------------------

def answer_loss(hidden, head, ids, mask):
    h = hidden[:, :-1][mask]
    return F.cross_entropy(F.linear(h, head.to(h.dtype)).float(), ids[:, 1:][mask])


@torch.no_grad()
def teacher_forced(forward, head, pool, scale, batch=250):
    """Share of problems whose every answer token is the most likely one (greedy decoding would print the worked
    answer), share of answer tokens that are, and the mean negative log-likelihood of an answer token."""
    exact = tokens_right = tokens = 0
    nll = 0.0
    for i in range(0, len(pool), batch):
        ids, mask = pool.rows(torch.arange(i, min(i + batch, len(pool)), device=pool.device))
        hidden = forward(ids, scale)[:, :-1]
        logits = F.linear(hidden, head.to(hidden.dtype)).float()
        right = (logits.argmax(-1) == ids[:, 1:]) | ~mask
        exact += right.all(1).sum().item()
        tokens_right += (right & mask).sum().item()
        tokens += mask.sum().item()
        nll += F.cross_entropy(logits[mask], ids[:, 1:][mask], reduction="sum").item()
    return {"exact": exact / len(pool), "tokens": tokens_right / tokens, "nll": nll / tokens}


def scores(forward, head, pool, factor):
    """Right, factor lost (1), factor doubled."""
    return {name: teacher_forced(forward, head, pool, value)
            for name, value in (("right", factor), ("lost", 1.0), ("doubled", 2 * factor))}


def show(s):
    return " | ".join(f"{k} {100 * v['exact']:.1f} % nll {v['nll']:.4f}" for k, v in s.items())


def add_arguments(ap):
    ap.add_argument("--out", type=pathlib.Path, required=True, help="folder of the checkpoint; holds the tokenizer")
    ap.add_argument("--pool", type=pathlib.Path, required=True, help=".npz of training ids (see make_pools.py)")
    ap.add_argument("--valid", type=pathlib.Path, required=True, help=".npz of validation ids")
    ap.add_argument("--steps", type=int, default=0, help="stop after this many steps (the schedule follows)")
    ap.add_argument("--seconds", type=float, default=0, help="or after this much time")
    ap.add_argument("--until", type=float, default=0, help="or at this Unix time")
    ap.add_argument("--batch", type=int, default=128)
    ap.add_argument("--lr", type=float, default=0.02, help="Muon, for the matrices")
    ap.add_argument("--adam-lr", type=float, default=2e-3, help="Adam, for embeddings, head, router, norms")
    ap.add_argument("--weight-decay", type=float, default=0.0)
    ap.add_argument("--decay", type=float, default=0.4, help="last share of the run over which the rate falls to 0")
    ap.add_argument("--bias-rate", type=float, default=1e-3, help="step of the load-balance rule")
    ap.add_argument("--eval-seconds", type=float, default=60)
    ap.add_argument("--keep-early", type=float, default=0.0, metavar="T")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--no-compile", action="store_true")
    ap.add_argument("--init-from", type=pathlib.Path, help="continue from a checkpoint of the same shape")


@torch.no_grad()
def balance(bias, counts, rate):
    """Auxiliary-loss-free balancing: an expert with less than its share of the tokens gains bias, one with more loses it."""
    bias.add_(torch.sign(counts.float().mean() - counts.float()), alpha=rate)
    bias.sub_(bias.mean())


def run(model, fast, factor, matrices, biases, save, a):
    """Trains `model` through `fast` (a callable ids, scale -> hidden states that also leaves `fast.counts`).

    With `--keep-early T` the state at which losing the factor costs most, among the evaluations that solve at least T of
    the validation problems, is saved beside the final one: longer training widens the margins between candidate tokens."""
    device = next(model.parameters()).device
    torch.set_float32_matmul_precision("high")  # TF32 inside KDA; bf16 rules elsewhere
    pool = Pool(dict(np.load(a.pool)), device)
    valid = Pool(dict(np.load(a.valid)), device)
    muon = Muon(matrices, a.lr, weight_decay=a.weight_decay)
    in_muon = {id(p) for p, _ in matrices}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in in_muon]
    adam = torch.optim.AdamW(rest, lr=a.adam_lr, betas=(0.9, 0.98), weight_decay=0.0,
                             fused=device.type == "cuda")
    log = open(a.out / "train.log.jsonl", "w")
    head = model.lm_head.weight
    batches = pool.batches(a.batch, a.seed)
    begin = last_eval = None
    lowest = 2.0
    step, running = 0, None
    loads = torch.zeros(len(biases), biases[0].numel(), device=device)
    while True:
        ids, mask = next(batches)
        if begin is not None:
            elapsed = time.time() - begin
            if a.steps:
                done = step / a.steps
            elif a.until:
                done = elapsed / (a.until - begin)
            else:
                done = elapsed / a.seconds
            if done >= 1:
                break
        else:
            done = 0.0
        rate = min(1.0, (step + 1) / 100) * min(1.0, (1 - done) / a.decay)
        try:
            loss = answer_loss(fast(ids, factor), head, ids, mask)
            loss.backward()
        except Exception as error:  # an uncompiled run is slower and the same function
            if step or fast.functions is fast.plain:
                raise
            print(f"{a.out.name}: not compiled: {type(error).__name__} {str(error)[:300]}", flush=True)
            fast.functions = fast.plain
            model.zero_grad(set_to_none=True)
            continue
        for group in adam.param_groups:
            group["lr"] = a.adam_lr * rate
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        adam.step()
        muon.step(rate)
        model.zero_grad(set_to_none=True)
        for i, (bias, counts) in enumerate(zip(biases, fast.counts)):
            balance(bias, counts, a.bias_rate * rate)
            loads[i].lerp_(counts.float(), 0.01)
        step += 1
        if step == 3:  # the first steps compile
            torch.cuda.synchronize() if device.type == "cuda" else None
            begin = last_eval = time.time()
        if step % 20 == 0:
            running = loss.item() if running is None else 0.8 * running + 0.2 * loss.item()
            if not math.isfinite(running):
                print(f"{a.out.name}: loss is not finite at step {step}", flush=True)
                break
            if time.time() - last_eval > a.eval_seconds * (0.5 if done > 1 - a.decay else 1):
                s = scores(fast.eager, head, valid, factor)
                last_eval = time.time()
                if a.keep_early and s["right"]["exact"] >= a.keep_early and s["lost"]["exact"] < lowest:
                    lowest = s["lost"]["exact"]
                    folder = a.out.with_name(a.out.name + "-early")
                    shutil.copytree(a.out, folder, dirs_exist_ok=True)
                    save(folder)
                    (folder / "summary.json").write_text(json.dumps({"step": step, "batch": a.batch, **s}, indent=1))
                record = {"step": step, "seconds": last_eval - begin, "loss": running, **s}
                log.write(json.dumps(record) + "\n")
                log.flush()
                print(f"{a.out.name} step {step} {record['seconds']:.0f} s loss {running:.4f} {show(s)}", flush=True)
    seconds = time.time() - begin
    torch.set_float32_matmul_precision("highest")
    s = scores(fast.eager, head, valid, factor)
    share = (loads / loads.sum(1, keepdim=True) * loads.shape[1]).cpu()
    summary = {"step": step, "seconds": seconds, "batch": a.batch, "loss": running,
               "parameters": sum(p.numel() for p in model.parameters()), **s,
               "load_min_max": [share.min().item(), share.max().item()],
               "bias_min_max": [min(b.min().item() for b in biases), max(b.max().item() for b in biases)]}
    log.write(json.dumps(summary) + "\n")
    log.close()
    print(f"{a.out.name} END step {step} {seconds:.0f} s loss {running} {show(s)} load {summary['load_min_max']}", flush=True)
    return summary
