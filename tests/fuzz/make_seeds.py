#!/usr/bin/env python3
"""Writes the named seeds: inputs that mean something, from which the fuzzers set out.

Usage: make_seeds.py [FOLDER]     default: seeds/ beside this file

What each byte means is said at the head of each *_fuzz.cc. Files whose names are 40 hex digits came
from long runs: each reaches code that no other seed reaches.
"""

import json
import pathlib
import struct
import sys


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def text(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value


def number(field, value):
    return varint(field << 3) + varint(value % 2**64)


def wire(message, cuts=(), most_prompts=0, most_text=0, vocabulary=0):
    options = most_prompts | most_text << 3 | vocabulary << 6
    return bytes([options, len(cuts)]) + b"".join(struct.pack("<H", cut) for cut in cuts) + message


def wire_scan_seeds():
    ids = struct.pack("<3i", 7, 0, 99)
    whole = (text(1, b"request-7") + number(2, 2) + text(3, b"first") + text(3, "\u00e9t\u00e9 \U0001f600".encode())
             + text(5, b"model") + number(6, -4))
    return {
        "empty": wire(b""),
        "every_field": wire(whole, most_text=7),
        "every_field_in_pieces": wire(whole, cuts=(1, 5, 5, 13, 20, 31), most_text=7),
        "text_cut_inside_a_character": wire(text(3, b"ab" + "\u20ac".encode()), most_text=1),
        "text_cut_inside_a_long_character": wire(text(3, b"abc" + "\U0001f600".encode()), most_text=2),
        "token_ids": wire(number(2, 2) + text(4, ids) + text(4, ids[:4]), vocabulary=2, cuts=(6,)),
        "token_ids_win_over_texts": wire(text(4, ids) + text(3, b"text") + text(4, ids[:4]), vocabulary=2),
        "token_ids_beside_what_is_not_text": wire(text(4, ids) + text(3, b"\xff"), vocabulary=2),
        "token_id_beyond_vocabulary": wire(text(4, struct.pack("<i", 100)), vocabulary=2),
        "token_id_negative": wire(text(4, struct.pack("<i", -1))),
        "too_many_token_ids": wire(text(4, bytes(28))),
        "blob_of_five_bytes": wire(text(4, b"12345")),
        "too_many_prompts": wire(text(3, b"") * 3, most_prompts=2),
        "text_not_utf8": wire(text(3, b"\xed\xa0\x80")),
        "name_not_utf8": wire(text(5, b"\xc3")),
        "last_scalar_wins": wire(number(2, 1) + number(2, 2) + text(5, b"old") + text(5, b"new")),
        "other_wire_types": wire(text(2, b"seven") + number(3, 7) + varint(4 << 3 | 5) + b"abcd" + varint(1 << 3 | 1)
                                 + b"12345678"),
        "unknown_fields": wire(text(97, b"unknown") + varint(98 << 3 | 5) + b"1234" + number(99, 2**63)),
        "group": wire(varint(9 << 3 | 3) + number(1, 1) + varint(9 << 3 | 4)),
        "tag_of_ten_bytes": wire(b"\x9a\x80\x80\x80\x80\x80\x80\x80\x80\x00\x01x"),
        "tag_of_more_than_32_bits": wire(b"\x9a\x80\x80\x80\x10\x01x"),
        "length_of_six_bytes": wire(b"\x1a\x81\x80\x80\x80\x80\x00x"),
        "length_beyond_the_end": wire(b"\x1a\x7fshort"),
        "length_of_all_ones": wire(b"\x1a" + b"\xff" * 9 + b"\x01"),
        "number_does_not_end": wire(b"\x10\xff"),
        "field_zero": wire(b"\x00\x01"),
    }


# Steps of completion_fuzz.cc, in its order.
STEPS = ("post complete complete_damaged scribble_lines scribble_responses set_tail set_head reap drop_rows withdraw "
         "look settle").split()
COUNTS = (1, 2, 3, 5, 10, 20, 40, 82)


def step(name, *arguments, steps=STEPS):
    return bytes([steps.index(name)]) + b"".join(a if isinstance(a, bytes) else bytes([a]) for a in arguments)


def post(count=1, first=0, tokens=1):
    return step("post", COUNTS.index(count), first, tokens - 1)


def damaged(which, status, at, value):
    return step("complete_damaged", which, status, at, len(value), value)


def lines(at, value):
    return step("scribble_lines", struct.pack("<H", at), len(value), value)


def completion_seeds():
    reap = step("reap")
    two = post(2) + post(3, first=1)
    seeds = {
        "nothing_happens": b"",
        "posted_and_died": two,
        "every_status": b"".join(post() + step("complete", 0, status) + reap for status in range(4)),
        "out_of_order": two + post(5) + step("complete", 2, 0) + step("complete", 0, 0) + reap
                        + step("complete", 0, 1),
        "committed_before_death": two + step("complete", 1, 0),
        "same_completion_twice": two + step("complete", 0, 0) + step("complete", 0, 0) + reap,
        "good_after_garbage": two + damaged(0, 0, 0, b"\xff") + step("complete", 1, 0) + reap + reap + post(),
        "slot_beyond_the_table": two + damaged(0, 0, 16, b"\x10") + reap,
        "slot_of_another": two + damaged(0, 0, 16, b"\x01") + reap,
        "unknown_status": two + damaged(0, 0, 20, b"\x04") + reap,
        "other_rows": two + damaged(1, 0, 24, b"\x02") + reap,
        "rows_of_a_failure": two + damaged(1, 2, 24, b"\x01") + reap,
        "prompt_that_was_not_sent": two + damaged(1, 1, 28, b"\x03") + reap,
        "detail_beyond_its_region": two + damaged(0, 1, 32, struct.pack("<H", 2 * 400 + 1)) + reap,
        "detail_beside_rows": two + damaged(0, 0, 32, b"\x01") + reap,
        "rows_change_after_completion": two + step("complete", 1, 0)
                                        + step("scribble_responses", 1, struct.pack("<H", 400), 1, b"\x21") + reap,
        "tail_far_ahead": two + step("set_tail", 4 + 17) + reap,
        "good_cell_below_an_impossible_tail": two + step("complete", 0, 0) + step("set_tail", 4 + 17) + reap,
        "tail_behind": two + step("set_tail", 3) + reap,
        "empty_cells_published": two + step("set_tail", 4 + 1) + reap,
        "head_says_all_taken": two + step("set_head", 20),
        "head_beyond_the_tail": two + step("set_head", 21),
        "full_ring_and_head_behind": post() * 16 + b"".join(step("complete", i, 3) for i in range(16)) + reap
                                     + step("set_head", 3) + post(),
        "full_ring_never_taken": post() * 16 + step("complete", 0, 3) + reap + post(),
        "no_credit": post(tokens=64) * 4 + post(),
        "whole_arena": post(82) + step("complete", 0, 0) + reap + post(82),
        "scarce_arena_copied_out": post(40) * 4 + post() + step("complete", 0, 0) + step("complete", 1, 0) + reap
                                   + post(40) + post(40) + step("drop_rows", 1) + post(40),
        "rows_held_and_dropped": two + step("complete", 0, 0) + reap + post(2) + step("drop_rows", 0) + post(2)
                                 + step("settle"),
        "withdrawn": two + step("withdraw", 1) + step("complete", 1, 3) + reap,
        "liar_beats": step("look") + lines(384, b"\x01") + lines(520, b"\xff\xff\xff\xff") + lines(0, b"\x05")
                      + step("look"),
        "detail_of_control_characters": post() + step("scribble_responses", 0, b"\x00\x00", 6, b"\x1b[2J\xff\x00")
                                        + step("complete", 0, 2) + reap,
        "settled_after_lies": two + step("set_head", 255) + step("set_tail", 255) + step("settle") + two,
    }
    return seeds


# Steps of router_fuzz.cc, in its order.
ROUTER_STEPS = "submit take answer answer_damaged repeat scribble_lines reap die withdraw abort drop_rows".split()
HONEST, LIAR = 0, 1


def router_seeds():
    def do(name, *arguments):
        return step(name, *arguments, steps=ROUTER_STEPS)

    def submit(prompts, length=0):
        return do("submit", prompts - 1, length)

    take, reap = [do("take", HONEST), do("take", LIAR)], do("reap")
    busy = submit(1) + submit(40, 100) + take[LIAR] + take[HONEST]
    scripts = {
        "nothing_happens": b"",
        "one_call": submit(1) + take[0] + do("answer", 0, 0, 0) + take[1] + do("answer", 1, 0, 0) + reap
                    + do("drop_rows", 0),
        "many_shards_over_both": submit(40, 255) + (take[0] + take[1]) * 4 + do("answer", 1, 1, 0)
                                 + do("answer", 0, 0, 0) + reap,
        "begun_and_died": busy + do("die", LIAR) + reap,
        "both_die": busy + do("die", HONEST) + do("die", LIAR) + reap,
        "dies_three_times": submit(1) + (take[0] + do("die", 0) + take[1] + do("die", 1)) * 3 + reap,
        "committed_before_death": busy + do("answer", 1, 0, 0) + do("die", LIAR),
        "rejected": busy + do("answer", 0, 0, 1) + reap,
        "failed_then_right": busy + do("answer", 1, 0, 2) + reap + take[0] + do("answer", 0, 0, 0) + reap,
        "fails_three_times": submit(1) + (take[0] + take[1] + do("answer", 0, 0, 2) + do("answer", 1, 0, 2) + reap) * 4,
        "withdrawn_unasked": busy + do("answer", 1, 0, 3) + reap,
        "cancelled_in_flight": busy + do("withdraw", 0) + do("answer", 1, 0, 0) + do("answer", 0, 0, 0) + reap,
        "aborted_while_waiting": submit(40, 255) * 3 + do("abort", 2) + do("abort", 2) + do("withdraw", 2) + reap,
        "garbage_with_work_in_flight": busy * 2 + do("answer_damaged", 0, 0, 0, 1, b"\xff") + reap + submit(2) + reap,
        "good_after_garbage": busy * 2 + do("answer_damaged", 0, 0, 16, 1, b"\xff") + do("answer", 1, 0, 0) + reap,
        "calls_while_one_is_dying": busy * 2 + do("answer_damaged", 0, 0, 16, 1, b"\xff") + reap + submit(40, 255)
                                    + take[0] + do("answer", 0, 0, 0) + reap * 2 + do("die", LIAR) + reap,
        "old_completion_for_a_slot_in_use": busy + do("answer", 1, 0, 0) + reap + submit(1) + submit(2) + reap
                                            + do("repeat", 0) + reap,
        "same_completion_of_another_generation": busy + do("answer", 1, 0, 0) + do("die", LIAR) + busy + do("repeat", 0)
                                                 + reap,
        "tail_far_ahead": busy + do("scribble_lines", struct.pack("<H", 256), 8, b"\xff" * 8) + reap + do("die", LIAR),
        "head_far_ahead": busy + do("scribble_lines", struct.pack("<H", 128), 8, b"\xff" * 8) + do("die", LIAR) + reap,
        "head_says_nothing_was_begun": busy + do("scribble_lines", struct.pack("<H", 128), 8, bytes(8))
                                       + do("die", LIAR),
        "suspect_and_bystanders": busy + submit(3) * 4 + do("die", LIAR) + take[1] + take[0] * 3
                                  + do("answer", 1, 0, 0) + reap,
    }
    seeds = {name: b"\0" + script for name, script in scripts.items()}
    for policy, name in enumerate(("round_robin", "least_loaded", "random", "power_of_two"), start=1):
        seeds[name] = bytes([policy]) + scripts["suspect_and_bystanders"] + scripts["garbage_with_work_in_flight"]
    return seeds


READY = {"type": "ready", "info": {"dim": 384, "max_tokens": 512, "vocabulary": 30522, "batch_tokens": 4096,
                                   "batch_prompts": 64, "engine": "echo", "dtype": "float32", "task": "embed",
                                   "device": ""}, "return_path": "host", "return_reason": ""}
DEVICE = {"uuid": "GPU-00", "ipc": "7f" * 64, "bytes": 2**26, "proof": 2**64 - 1, "required": True}


def ready(**changes):
    return {**READY, "info": {**READY["info"], **changes}}


def control_message_seeds():
    messages = {
        "hello": {"type": "hello", "protocol": 1, "pid": 4711},
        "hello_pid_too_large": {"type": "hello", "protocol": 1, "pid": 2**64 - 1},
        "hello_protocol_of_33_bits": {"type": "hello", "protocol": 2**32 + 1, "pid": 1},
        "offer": {"type": "offer", "replica": 3, "epoch": 2**64 - 1, "generation": 2**63, "spin_ns": 50000,
                  "beat_ns": 100000000, "step_ns": 60000000000},
        "offer_of_a_device": {"type": "offer", "replica": 0, "epoch": 1, "generation": 1, "spin_ns": 0, "beat_ns": 1,
                              "step_ns": 1, "device": DEVICE},
        "offer_of_half_a_handle": {"type": "offer", "replica": 0, "epoch": 1, "generation": 1, "spin_ns": 0, "beat_ns": 1,
                                   "step_ns": 1, "device": {**DEVICE, "ipc": "7f" * 32}},
        "ready": READY,
        "ready_on_a_device": {**READY, "return_path": "cuda_ipc", "return_reason": "it \x1b[2J"},
        "ready_on_no_path": {**READY, "return_path": "pigeon"},
        "ready_dim_zero": ready(dim=0),
        "ready_dim_too_large": ready(dim=2**19),
        "ready_without_info": {"type": "ready"},
        "ready_info_not_an_object": {"type": "ready", "info": [384]},
        "ready_name_cut_inside_a_character": ready(engine="x" * 255 + "\u20ac"),
        "ready_name_of_control_characters": ready(task="\x1b[2J\x7f\x85"),
        "failed": {"type": "failed", "reason": "no such file"},
        "failed_with_control_characters": {"type": "failed", "reason": "\x1b\x00\n" * 20},
        "failed_reason_not_text": {"type": "failed", "reason": 3},
        "drain": {"type": "drain"},
        "unknown_type": {"type": "dance\x1b"},
        "not_an_object": [1],
        "float_for_a_number": {"type": "hello", "protocol": 1.0, "pid": 1},
    }
    seeds = {name: json.dumps(message, ensure_ascii=False).encode() for name, message in messages.items()}
    seeds["not_json"] = b"{"
    seeds["reason_not_utf8"] = b'{"type":"failed","reason":"\xff"}'
    seeds["same_key_twice"] = b'{"type":"hello","protocol":1,"pid":1,"type":"drain"}'
    seeds["deep"] = b'{"type":' * 40
    return seeds


ARENA = {name: value for name, value in DEVICE.items() if name != "required"}
LEASED = {"type": "leased", "id": 1, "lease": 2, "offset": 256, "rows": 3, "dim": 384}
NOT_EMBEDDED = {"type": "not_embedded", "id": 1, "code": "RESOURCE_EXHAUSTED", "reason": "leases fill the arena"}


def consumer_message_seeds():
    def embed(*texts, **changes):
        return {"type": "embed", "id": 1, "texts": texts, "timeout_ns": 0, **changes}

    messages = {
        "hello": {"type": "hello", "protocol": 1, "device": "GPU-00"},
        "hello_protocol_of_33_bits": {"type": "hello", "protocol": 2**32, "device": "GPU-00"},
        "hello_device_of_control_characters": {"type": "hello", "protocol": 1, "device": "\x1b[2J\x7f\x85" * 99},
        "offer": {"type": "offer", "arena": ARENA},
        "offer_of_half_a_handle": {"type": "offer", "arena": {**ARENA, "ipc": "7f" * 32}},
        "offer_of_no_arena": {"type": "offer", "arena": []},
        "refused": {"type": "refused", "reason": "uses device GPU-01, expected GPU-00"},
        "embed": embed("a text", "another"),
        "embed_in_time": embed("a text", timeout_ns=5 * 10**9),
        "embed_no_text": embed(),
        "embed_empty_texts": embed("", "", id=2**64 - 1, timeout_ns=-2**63),
        "embed_control_characters": embed("\0\0\x1b\x7f\x85\n\"\\", "\ufeff\u2028"),
        "embed_every_length_of_character": embed("a\u00e9\u20ac\U0001f600\U0010ffff"),
        "embed_a_number": embed("a", 1),
        "embed_one_text": {"type": "embed", "id": 1, "texts": "a", "timeout_ns": 0},
        "embed_timeout_of_65_bits": embed("a", timeout_ns=2**64 - 1),
        "leased": LEASED,
        "leased_dim_zero": {**LEASED, "dim": 0},
        "leased_dim_too_large": {**LEASED, "dim": 2**19},
        "leased_of_all_ones": {**LEASED, "id": 2**64 - 1, "lease": 2**64 - 1, "offset": 2**64 - 1, "rows": 2**64 - 1},
        "not_embedded": NOT_EMBEDDED,
        "not_embedded_ok": {**NOT_EMBEDDED, "code": "OK"},
        "not_embedded_code_of_control_characters": {**NOT_EMBEDDED, "code": "\x1b[2J"},
        "not_embedded_long_reason": {**NOT_EMBEDDED, "reason": "\u20ac" * 1000},
        "return": {"type": "return", "lease": 7},
        "return_negative": {"type": "return", "lease": -1},
        "closed": {"type": "closed"},
        "unknown_type": {"type": "dance\x1b"},
        "not_an_object": [1],
        "float_for_a_number": {"type": "return", "lease": 1.0},
    }
    seeds = {name: json.dumps(message, ensure_ascii=False).encode() for name, message in messages.items()}
    seeds["embed_escaped"] = json.dumps(embed("\0\U0001f600")).encode()
    seeds["embed_half_a_pair"] = b'{"type":"embed","id":1,"texts":["\\ud83d"],"timeout_ns":0}'
    seeds["embed_not_utf8"] = b'{"type":"embed","id":1,"texts":["\xff"],"timeout_ns":0}'
    seeds["same_key_twice"] = b'{"type":"embed","id":1,"texts":["a"],"texts":["b","c"],"timeout_ns":0}'
    seeds["deep"] = b'{"type":"embed","texts":' + b"[" * 60
    seeds["not_json"] = b"{"
    return seeds


def safetensors_seeds():
    def entry(dtype, shape, begin, end):
        return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}

    def made(header, data_bytes):
        return b"h" + struct.pack("<H", data_bytes) + json.dumps(header, separators=(",", ":")).encode()

    def raw(header_bytes, rest):
        return b"r" + struct.pack("<Q", header_bytes) + rest

    three = {"__metadata__": {"format": "pt"}, "b": entry("F32", [2, 3], 4, 28), "a": entry("F16", [2], 0, 4),
             "one": entry("I64", [], 28, 36)}
    return {
        "three_tensors": made(three, 36),
        "no_tensor": made({}, 0),
        "every_dtype": made({d: entry(d, [0], 0, 0) for d in ("BOOL U8 I8 F8_E5M2 F8_E4M3 I16 U16 F16 BF16 I32 U32 F32 "
                                                              "I64 U64 F64").split()}, 0),
        "unknown_dtype": made({"a": entry("F31", [1], 0, 4)}, 4),
        "hole": made({"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 2, 3)}, 3),
        "overlap": made({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, 3),
        "data_without_a_tensor": made({"a": entry("U8", [1], 0, 1)}, 2),
        "beyond_the_data": made({"a": entry("U8", [4], 0, 4)}, 3),
        "less_than_its_offsets_say": made({"a": entry("U8", [1], 0, 2), "b": entry("U8", [1], 1, 2)}, 2),
        "end_before_begin": made({"a": entry("U8", [1], 4, 0)}, 4),
        "shape_wraps": made({"a": entry("F32", [2**62, 4], 0, 0)}, 0),
        "shape_wraps_to_its_bytes": made({"a": entry("F32", [2**62 + 1], 0, 4)}, 4),
        "shape_wraps_before_a_zero": made({"a": entry("U8", [2**63, 2, 0], 0, 0)}, 0),
        "shape_negative": made({"a": entry("U8", [-1], 0, 1)}, 1),
        "shape_of_floats": made({"a": entry("U8", [1.0], 0, 1)}, 1),
        "one_offset": made({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0]}}, 1),
        "entry_not_an_object": made({"a": []}, 0),
        "header_not_an_object": made([], 0),
        "nested_too_deep": made({"a": {"shape": [[1]]}}, 0),
        "name_of_control_characters": made({"\x1b\x00" * 50: {}}, 0),
        "bracket_in_a_name": made({"[[[[\\\"": entry("U8", [1], 0, 1)}, 1),
        "file_of_seven_bytes": b"r1234567",
        "length_beyond_the_file": raw(100, b"{}"),
        "length_of_all_ones": raw(2**64 - 1, b"{}"),
        "raw_one_tensor": raw(50, b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'[:50].ljust(50) + b"xy"),
    }


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent / "seeds"
    for target, seeds in (("wire_scan", wire_scan_seeds()), ("completion", completion_seeds()),
                          ("router", router_seeds()),
                          ("control_message", control_message_seeds()),
                          ("consumer_message", consumer_message_seeds()), ("safetensors", safetensors_seeds())):
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, seed in seeds.items():
            (folder / target / name).write_bytes(seed)
        print(f"{target}: {len(seeds)} named seeds, {sum(map(len, seeds.values()))} bytes")


if __name__ == "__main__":
    main()
