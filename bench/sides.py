"""The servers that benches of the hop set beside each other: zerohop with the echo engine, no hop, a hop over gRPC."""

import bench_run

DIM = 768  # floats per answer, on all sides
MODEL = "echo"  # model_name of the requests


def zerohop(options, flags=(), name="zerohop", dim=DIM, model=MODEL):
    """`flags`: more of `zerohop serve`. Not yet ready: its replicas are still loading."""
    port = bench_run.free_port()
    command = [options.binaries / "zerohop", "serve", "--engine", "echo", "--host", "127.0.0.1", "--port", port,
               "--served-model-name", model, f"--echo-dim={dim}", *flags]
    options.out.mkdir(parents=True, exist_ok=True)
    return bench_run.Server(name, [str(part) for part in command], f"127.0.0.1:{port}",
                            options.out / f"{bench_run.bench_name()}.{name}.log")


def no_hop(options, flags=(), name="no hop", dim=DIM):
    return bench_run.Server(name, [str(options.binaries / "no_hop_server"), "--dim", str(dim), *flags])


def grpc_hop(options, replicas=2, name="gRPC hop"):
    """A front and `replicas` servers behind it; the CPU time of all of them is the side's."""
    behind = []
    try:
        for number in range(replicas):
            behind.append(no_hop(options, name=f"{name}, replica {number}"))
        addresses = [server.address for server in behind]
        command = [str(options.binaries / "grpc_hop_server"), "--replicas", *addresses]
        return bench_run.Server(name, command, behind=behind)
    except bench_run.BenchError:
        for server in behind:
            server.stop()
        raise


def start_all_three(options, servers):
    """Appends no hop, the hop over gRPC and zerohop to `servers`."""
    servers.append(no_hop(options))
    servers.append(grpc_hop(options, options.replicas))
    servers.append(zerohop(options, ["--num-replicas", options.replicas]))


def generator_for(options, servers, seconds, patience, arguments):
    """A load generator whose every request carries `arguments`, once all servers answer."""
    shared = ["--warmup", options.warmup, "--seconds", seconds, *arguments]
    generator = bench_run.LoadGenerator(options.binaries, bench_run.Watch(patience), shared)
    for server in servers:
        generator.wait_ready(server, 60)
    return generator


def measure(options, servers, concurrencies, model=MODEL):
    """Closed loops, one prompt a request: {(side, load): [sample per round]}"""
    generator = generator_for(options, servers, options.seconds, options.patience, ["--model", model])
    loads = {f"c={number}": ["--concurrency", number] for number in concurrencies}
    return bench_run.measure_in_turn(generator, servers, loads, options.rounds)
