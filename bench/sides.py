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
