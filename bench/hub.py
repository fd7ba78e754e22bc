#!/usr/bin/env python3
"""The hub beside a bare epoll server and, with --peers, npm ws: interleaved rounds, medians. Server on core 0, load on core 1.

    ./dev bench hub [--rounds N] [--seconds S] [--subscribers 1,100,1000,5000] [--peers]
"""
import argparse, json, os, signal, statistics, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))


def start(argv):
    p = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    line = p.stdout.readline().split()
    if not line or line[0] != "listening":
        sys.exit(f"{argv[0]} did not start")
    return p, line[1:]


def measure(build, server, load):
    p, said = start(server)
    try:
        args = [f"{build}/bench/wsload", "-p", said[0], "-P", str(p.pid), "-c", "1", *load]
        if len(said) > 1:
            args += ["-R", said[1], "-E", said[2]]
        out = subprocess.run(args, stdout=subprocess.PIPE, text=True, timeout=180)
        return json.loads(out.stdout) if out.returncode == 0 else None
    finally:
        p.send_signal(signal.SIGTERM)
        p.wait()


def npm_ws(build):
    """npm ws in the build folder, never in the source."""
    where = f"{build}/peers"
    os.makedirs(where, exist_ok=True)
    if not os.path.isdir(f"{where}/node_modules/ws"):
        subprocess.run(["npm", "install", "--silent", "--prefix", where, "ws@8.23.0", "bufferutil@4.1.0"], check=True)
    with open(f"{HERE}/peers/ws_server.mjs") as src, open(f"{where}/ws_server.mjs", "w") as dst:
        dst.write(src.read())
    return ["taskset", "-c", "0", "node", f"{where}/ws_server.mjs", "0"]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--build", default="build/bench")
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--seconds", type=float, default=2)
    a.add_argument("--subscribers", default="1,100,1000,5000")
    a.add_argument("--peers", action="store_true")
    a.add_argument("--json", action="store_true")
    o = a.parse_args()
    build = os.path.abspath(o.build)
    servers = {
        "bare": [f"{build}/bench/ws_bare", "0", "0"],
        "hub flush 0": [f"{build}/bench/hub", "-c", "0", "-f", "0"],
        "hub 25 ms": [f"{build}/bench/hub", "-c", "0", "-f", "25"],
    }
    if o.peers:
        servers["npm ws"] = npm_ws(build)
    rows = []
    for s in o.subscribers.split(","):
        for name, load in (("1 at a time", ["-w", "1"]), ("16 in flight", ["-w", "16"]), ("50 a second", ["-r", "50"])):
            got = {k: [] for k in servers}
            for _ in range(o.rounds):
                for k, argv in servers.items():
                    m = measure(build, argv, ["-s", s, "-d", str(o.seconds), "-W", "0.5", *load])
                    if m:
                        got[k].append(m)
            for k, ms in got.items():
                if not ms:
                    rows.append({"subscribers": int(s), "load": name, "server": k, "failed": True})
                    continue
                med = lambda f: statistics.median(m[f] for m in ms)
                rows.append({"subscribers": int(s), "load": name, "server": k, "rounds": len(ms), "delivered_s": med("delivered_s"),
                             "us": med("server_us"), "server_cpu": med("server_cpu"), "client_cpu": med("client_cpu"), "p50_ms": med("p50_ms"),
                             "p99_ms": med("p99_ms"), "bytes": med("bytes"), "lost": max(m["lost"] for m in ms)})
                if not o.json:
                    r = rows[-1]
                    bare = next((x for x in rows if x["subscribers"] == int(s) and x["load"] == name and x["server"] == "bare"), r)
                    print(f"{s:>5} subs  {name:<12}  {k:<12} {r['delivered_s'] / 1000:8.0f} k msg/s  {r['us']:7.3f} us/msg ({r['us'] / bare['us']:5.2f}x bare)"
                          f"  server {r['server_cpu']:4.0%} client {r['client_cpu']:4.0%}  p50 {r['p50_ms']:6.2f} p99 {r['p99_ms']:6.2f} ms"
                          f"  {r['bytes']:4.0f} B  lost {r['lost']}", flush=True)
    for k, argv in servers.items():
        m = measure(build, argv, ["-s", "1", "-i", "5000", "-w", "1", "-d", "1", "-W", "0.2"])
        if m:
            rows.append({"idle": 5000, "server": k, "kib": m["idle_kib_per_conn"]})
            if not o.json:
                print(f" 5000 idle                {k:<12} {m['idle_kib_per_conn']:6.2f} KiB a connection, {m['server_us']:.0f} us per message to one subscriber", flush=True)
    if o.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
