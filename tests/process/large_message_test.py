"""Messages of 200 MiB each way, and what is said of one byte more."""

import unittest

import grpc
import inference_pb2 as pb
import numpy as np
from server import MAX_MESSAGE, Server, echo_rows, rows_of

WIDE = 65536  # floats: 256 KiB a row
LARGE = 2_000_000  # bytes of a text; what is more than a quarter of the request arena is not looked at


def request_of(size):
    """An EncodeRequest of exactly so many bytes."""
    texts = ["first"] + [f"{i:07}" * (LARGE // 7) for i in range(size // LARGE)] + ["last"]
    request = pb.EncodeRequest(prompts=texts, n_prompts=len(texts), model_name="echo")
    request.prompts.append("y" * LARGE)
    request.n_prompts += 1
    request.prompts[-1] = "y" * (LARGE - request.ByteSize() + size)
    assert request.ByteSize() == size, request.ByteSize()
    return request


class LargeMessages(unittest.TestCase):
    def test_a_request_of_200_mib_is_served_and_one_of_a_byte_more_is_resource_exhausted(self):
        with Server("--echo-dim=8") as server:
            # The client's own limit is the same; without it the server's word is heard.
            channel = grpc.insecure_channel(server.address, [("grpc.max_send_message_length", -1)])
            encode = channel.unary_unary("/arctic_inference.InferenceService/Encode")
            request = request_of(MAX_MESSAGE)
            rows = rows_of(pb.EncodeResponse.FromString(encode(request.SerializeToString())))
            self.assertEqual(len({row.tobytes() for row in rows}), request.n_prompts)
            known = [0, request.n_prompts - 2]
            np.testing.assert_array_equal(rows[known], echo_rows(["first", "last"], 8))
            request.prompts[-1] += "y"
            with self.assertRaises(grpc.RpcError) as caught:
                encode(request.SerializeToString())
            self.assertEqual(caught.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
            self.assertIn(f"{MAX_MESSAGE + 1} vs. {MAX_MESSAGE}", caught.exception.details())
            channel.close()
            self.assertEqual(server.encode(["still here"]).n_prompts, 1)

    def test_an_answer_of_nearly_200_mib_is_served_and_one_beyond_is_refused_before_it_is_computed(self):
        with Server(f"--echo-dim={WIDE}") as server:
            most = MAX_MESSAGE // (4 * WIDE + 4)
            texts = [f"{i}" for i in range(most)]
            response = server.encode(texts)
            self.assertGreater(response.ByteSize(), MAX_MESSAGE - (1 << 20))
            rows = rows_of(response)
            for i in (0, most // 2, most - 1):
                np.testing.assert_array_equal(rows[i], echo_rows([texts[i]], WIDE)[0])
            self.assertEqual(len({row.tobytes() for row in rows}), most)
            with self.assertRaises(grpc.RpcError) as caught:
                server.encode(texts + ["one more"])
            self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
            self.assertRegex(caught.exception.details(), rf"^{most + 1} prompts need an answer of \d+ bytes; .* {MAX_MESSAGE}$")


if __name__ == "__main__":
    unittest.main()
