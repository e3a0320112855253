#!/usr/bin/env python3
"""Holds `seatrial backtest --output json` against a second implementation, written from the formulas alone.

    python3 benches/judge/reference.py target/debug/seatrial

Plays block files of its own (calm, broken, shared, sparse, huge, long, broken off) under several settings through the
binary and through the formulas below, and compares every logarithm of every block to 1e-9. Exit code 1 if one differs.
"""
import json, math, random, subprocess, sys, tempfile
from datetime import datetime, timedelta, timezone

FAIL = [1.5, 2, 3, 5, 10, 30]
PASS = [1 / 1.5, 1 / 2, 1 / 3, 1 / 5, 1 / 10]
FIELDS = [("fail", "raw"), ("fail", "trim"), ("compare", "raw"), ("compare", "trim"), ("pass",), ("combined",)]


def ln(x):
    return math.log(x) if x > 0 else -math.inf


def log_sum(values):
    top = max(values)
    return top if top == -math.inf else top + math.log(math.fsum(math.exp(v - top) for v in values))


class Breach:
    """Restarting mixture over odds multipliers; `trim` goes without the `left_out` most incriminating blocks."""

    def __init__(self, left_out, planned):
        self.s, self.tops = [-math.inf] * len(FAIL), [[] for _ in FAIL]
        self.cash, self.stake, self.rho, self.left_out = 1.0, 0.5, 1.0 / planned, left_out

    def fold(self, k, n, theta, eta):
        invested = self.cash * self.stake
        self.cash, self.stake = self.cash - invested, self.rho
        for j, omega in enumerate(FAIL):
            e, c = eta * math.log(omega), eta * math.log1p(theta * (omega - 1))
            gained = k * e - n * c
            self.s[j] = log_sum([self.s[j], ln(invested / len(FAIL))]) + gained
            discount = max(k - 1, 0) * e if e > n * c else max(gained, 0)
            self.tops[j] = sorted(self.tops[j] + [discount], reverse=True)[: self.left_out]

    def raw(self):
        return log_sum([ln(self.cash)] + self.s)

    def trim(self):
        return log_sum([ln(self.cash)] + [s - math.fsum(t) for s, t in zip(self.s, self.tops)])


def judge(blocks, theta, kappa, left_out, tolerance, planned):
    """The logarithms after every block."""
    objective, blame, guard = (Breach(left_out, planned) for _ in range(3))
    health, step, last, compared, rows = [0.0] * len(PASS), None, None, False, []
    for block in blocks:
        c, s = block.get("candidate"), block.get("stable")
        if last is None or block["t"] > last:
            last = block["t"]
            if block.get("step") is not None and block["step"] != step:
                step, health = block["step"], [0.0] * len(PASS)
            if c:
                eta = 1 / (1 + kappa * theta * c["total"])
                objective.fold(c["bad"], c["total"], theta, eta)
                if block.get("step") is not None:
                    for j, omega in enumerate(PASS):
                        cost = c["total"] * math.log1p(theta * (omega - 1))
                        health[j] += eta * (c["bad"] * math.log(omega) - cost)
            else:
                objective.fold(0, 0, 0.5, 1)
            both = c and s and block.get("step") is not None
            compared = compared or bool(both and s["total"] > 0)
            for process, ratio in ((blame, 1.0), (guard, tolerance)):
                if both and c["total"] > 0 and s["total"] > 0:
                    bad, share = c["bad"] + s["bad"], c["total"] / (c["total"] + s["total"])
                    theta_c = c["total"] * ratio / (c["total"] * ratio + s["total"])
                    process.fold(c["bad"], bad, theta_c, 1 / (1 + kappa * bad * share * (1 - share)))
                else:
                    process.fold(0, 0, 0.5, 1)
        own = min(objective.trim(), blame.trim()) if compared else objective.trim()
        rows.append([objective.raw(), objective.trim(), guard.raw(), guard.trim(),
                     log_sum(health) - math.log(len(PASS)), log_sum([own, guard.trim()]) - math.log(2)])
    return rows


def files():
    """Name -> blocks; the same every time."""
    rng = random.Random(4)
    at = lambda i: (datetime(2026, 11, 21, tzinfo=timezone.utc) + timedelta(seconds=15 * i)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def drawn(total, rate):
        bad = sum(rng.random() < rate for _ in range(total)) if total < 2000 else min(total, round(rng.gauss(total * rate, math.sqrt(total * rate))))
        return {"bad": max(bad, 0), "total": total}

    def run(count, candidate, stable, step=lambda i: i // 48):
        return [{"t": at(i), "step": step(i), "candidate": candidate(i), "stable": stable(i)} for i in range(count)]

    yield "calm", run(240, lambda i: drawn(60, 0.002), lambda i: drawn(540, 0.002))
    yield "broken from the middle", run(240, lambda i: drawn(300, 0.002 if i < 120 else 0.05), lambda i: drawn(900, 0.002))
    yield "shared incident", run(240, lambda i: drawn(200, 0.1 if 60 <= i < 72 else 0.001), lambda i: drawn(800, 0.1 if 60 <= i < 72 else 0.001))
    yield "one request now and then", run(400, lambda i: drawn(rng.randrange(2), 0.3), lambda i: drawn(rng.randrange(4), 0.3))
    yield "every request fails", run(60, lambda i: {"bad": 1000, "total": 1000}, lambda i: {"bad": 0, "total": 9000})
    yield "huge", run(100, lambda i: {"bad": 2 ** 52 * (i % 2), "total": 2 ** 53}, lambda i: {"bad": i, "total": 2 ** 53})
    yield "fractions", run(100, lambda i: {"bad": i * 1e-6, "total": 0.5 + i * 1e-3}, lambda i: {"bad": 0.25, "total": 0.25 + i})
    yield "nothing at all", run(50, lambda i: {"bad": 0, "total": 0}, lambda i: {"bad": 0, "total": 0})
    yield "eight hours", run(1920, lambda i: drawn(20, 0.01), lambda i: drawn(180, 0.01), lambda i: i // 400)
    gaps = run(300, lambda i: drawn(100, 0.02), lambda i: drawn(300, 0.02))
    for block in gaps:
        for part in ("step", "candidate", "stable"):
            if rng.random() < 0.2:
                del block[part]
    yield "gaps", [block for block in gaps if rng.random() < 0.9]


def main():
    binary, worst, compared, broken = sys.argv[1], 0.0, 0, 0
    settings = [(99.0, 0, 1, 1.25, 240), (99.9, 2, 1, 1.1, 240), (50.0, 5, 2, 1.5, 1000), (99.995, 0.3, 5, 1.0, 1), (0.5, 0, 0, 2.0, 240)]
    for name, blocks in files():
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.write("\n".join(map(json.dumps, blocks)))
            file.flush()
            for objective, kappa, left_out, tolerance, planned in settings:
                command = [binary, "backtest", "--blocks", file.name, "--output", "json", "--objective", f"{objective:g}%",
                           "--kappa", str(kappa), "--leave-out", str(left_out), "--tolerance", str(tolerance),
                           "--planned-blocks", str(planned)]
                lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
                theta = round((100 - objective) * 1e4) / 1e6
                expected = judge(blocks, theta, kappa, left_out, tolerance, planned)
                assert len(lines) == len(expected), f"{name}: {len(lines)} rows for {len(expected)} blocks"
                for line, row in zip(map(json.loads, lines), expected):
                    for path, want in zip(FIELDS, row):
                        have = line[path[0]] if len(path) == 1 else line[path[0]][path[1]]
                        off = abs(have - want) / max(1.0, abs(want))
                        worst, compared = max(worst, off), compared + 1
                        if off > 1e-9:
                            broken += 1
                            print(f"{name}, {objective}%, kappa {kappa}, {line['t']}: {'.'.join(path)} is {have}, not {want}")
    print(f"{compared} logarithms compared, the largest difference is {worst:.1e}; {broken} beyond 1e-9")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
