#!/usr/bin/env python3
"""Holds `seatrial backtest --output json` against a second implementation, written from the formulas alone.

    python3 benches/judge/reference.py target/debug/seatrial [SEED]

Plays block files of its own (calm, broken, shared, sparse, huge, long, broken off, and drawn at random) under several
settings through the binary and through the formulas below, and compares every logarithm of every block to 1e-9, and
every verdict. Exit code 1 if one differs.
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


def least_requests(theta, alpha):
    """So many requests would have shown a gross failure."""
    p = min(10 * theta, (1 + theta) / 2)
    return 1.6 * math.log(1 / alpha) / (p * math.log(p / theta) + (1 - p) * math.log((1 - p) / (1 - theta)))


def judge(blocks, theta, kappa, left_out, tolerance, planned, alpha, beta):
    """The logarithms after every block, and the verdict; `None` where it hangs on the last bits."""
    objective, blame, guard = (Breach(left_out, planned) for _ in range(3))
    health, step, last, compared, rows, of_step = [0.0] * len(PASS), None, None, False, [], 0.0
    breach, proof, least = math.log(1 / alpha), math.log(1 / beta), least_requests(theta, alpha)
    for block in blocks:
        c, s = block.get("candidate"), block.get("stable")
        if last is None or block["t"] > last:
            last = block["t"]
            if block.get("step") is not None and block["step"] != step:
                step, health, of_step = block["step"], [0.0] * len(PASS), 0.0
            if c:
                eta = 1 / (1 + kappa * theta * c["total"])
                objective.fold(c["bad"], c["total"], theta, eta)
                if block.get("step") is not None:
                    of_step += c["total"]
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
        combined, healthy = log_sum([own, guard.trim()]) - math.log(2), log_sum(health) - math.log(len(PASS))
        sure = healthy >= proof and step is not None and of_step > 0 and of_step >= least
        verdict = "Fail" if combined >= breach else "Pass" if sure and objective.trim() < breach else "Inconclusive"
        close = min(abs(combined - breach), abs(healthy - proof), abs(objective.trim() - breach), abs(of_step - least))
        rows.append(([objective.raw(), objective.trim(), guard.raw(), guard.trim(), healthy, combined],
                     verdict if close > 1e-6 else None))
    return rows


def files(rng):
    """Name -> blocks; the same for the same seed."""
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
    for number in range(12):
        weight, traffic, length = rng.random(), 10 ** rng.uniform(0, 5), rng.randrange(2, 80)
        base, worse, since = 10 ** rng.uniform(-4, -0.5), 10 ** rng.uniform(-1, 1.5), rng.randrange(300)
        yield f"at random {number}", run(
            rng.randrange(1, 300), lambda i: drawn(int(traffic * weight), min(base * (worse if i >= since else 1), 1)),
            lambda i: drawn(int(traffic * (1 - weight)), base), lambda i: i // length)


def rules(rng):
    """Objective, kappa, blocks left out, tolerance, planned blocks, alpha, beta (percent)."""
    yield from [(99.0, 0, 1, 1.25, 240, 1, 5), (99.9, 2, 1, 1.1, 240, 0.1, 1), (50.0, 5, 2, 1.5, 1000, 5, 10),
                (99.995, 0.3, 5, 1.0, 1, 1, 5), (0.5, 0, 0, 2.0, 240, 20, 50)]
    for _ in range(3):
        yield (round(100 - 10 ** rng.uniform(-2, 1.5), 4), round(rng.choice([0, 10 ** rng.uniform(-2, 2)]), 3), rng.randrange(6),
               round(rng.uniform(1, 3), 2), rng.randrange(1, 2000), round(10 ** rng.uniform(-2, 1.5), 4), round(10 ** rng.uniform(-2, 1.5), 4))


def main():
    binary, worst, compared, broken, verdicts = sys.argv[1], 0.0, 0, 0, {}
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 4)
    for name, blocks in files(rng):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.write("\n".join(map(json.dumps, blocks)))
            file.flush()
            for objective, kappa, left_out, tolerance, planned, alpha, beta in rules(rng):
                command = [binary, "backtest", "--blocks", file.name, "--output", "json", "--objective", f"{objective:.10g}%",
                           "--kappa", str(kappa), "--leave-out", str(left_out), "--tolerance", str(tolerance),
                           "--planned-blocks", str(planned), "--alpha", f"{alpha}%", "--beta", f"{beta}%"]
                lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
                theta = round((100 - objective) * 1e4) / 1e6
                expected = judge(blocks, theta, kappa, left_out, tolerance, planned, alpha / 100, beta / 100)
                assert len(lines) == len(expected), f"{name}: {len(lines)} rows for {len(expected)} blocks"
                for line, (row, verdict) in zip(map(json.loads, lines), expected):
                    for path, want in zip(FIELDS, row):
                        have = line[path[0]] if len(path) == 1 else line[path[0]][path[1]]
                        off = abs(have - want) / max(1.0, abs(want))
                        worst, compared = max(worst, off), compared + 1
                        if off > 1e-9:
                            broken += 1
                            print(f"{name}, {objective}%, kappa {kappa}, {line['t']}: {'.'.join(path)} is {have}, not {want}")
                    verdicts[line["verdict"]] = verdicts.get(line["verdict"], 0) + 1
                    if verdict not in (None, line["verdict"]):
                        broken += 1
                        print(f"{name}, {' '.join(command[5:])}, {line['t']}: {line['verdict']}, not {verdict}")
    print(f"{compared} logarithms compared, the largest difference is {worst:.1e}; verdicts: {verdicts}; {broken} wrong")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
