"""An engine of one's own: letters counted, and the counts normalised. Start it with

zerohop serve --engine python/examples/my_engine.py --num-replicas 2 --served-model-name letters
"""

import numpy as np
import zerohop.replica


class LetterCounts:
    def load(self, options):
        self.first = ord(options.take("--first-letter", "a"))

    def info(self):
        return zerohop.replica.Info(dim=26, engine="letter counts")

    def embed(self, batch):
        for text, row in zip(batch.text_bytes, batch.rows):
            row[:] = np.bincount(text, minlength=256)[self.first : self.first + 26]
            row /= max(1.0, float(np.linalg.norm(row)))


if __name__ == "__main__":
    zerohop.replica.serve(LetterCounts())
