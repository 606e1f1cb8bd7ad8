#!/usr/bin/env python3
"""Makes the texts that benches embed: the same for the same seed, on any machine.

mixed.txt    3 to 300 words, most of them short paragraphs: about 80 tokens on
             average, so that batches must be sorted to be dense
queries.txt  2 to 8 words, as a search box sends them
"""

import argparse
import pathlib
import random

WORDS = """
the of and a to in is was he for it with as his on be at by had not are but from or have an they which one you were
all her she there would their we him been has when who will no more if out so up said what its about than into them
can only other time new some could these two may first then do any like my now over such our man me even most made
after also did many off before must well back through years much where your way down should because long each just
state those people too mister how little good world make very year still see own work men day get here old between
both life being under three never know same last another while us might great go come since against right came take
used himself few house use during without again place around however home small found part school every hand head
high upon once general always united left public fact number course war until water something far enough night days
door light wife end second later body field word person nothing question power interest case member large social
history rather several early important young children community office country family market paper voice service
process system program reason result study moment research value policy level development period point figure city
company government section problem nature evidence effect church party order action feeling morning money property
knowledge method product example machine student letter production condition activity experience window memory
language river station future hospital mountain garden kitchen winter summer evening doctor teacher soldier captain
engine island village harbor captain bridge forest animal weather surface energy pressure temperature material metal
glass stone paint color sound music picture theater station newspaper radio television computer network database
server request latency throughput embedding vector search document retrieval passage sentence token model training
quality distance similarity cluster index query ranking relevance storage protocol message channel replica failure
recovery schedule memory bandwidth processor kernel thread signal buffer packet counter average percentile estimate
measure compare improve reduce increase describe explain consider suggest require provide develop support produce
believe remember understand continue become return follow carry bring begin expect receive decide appear
international responsibility characteristic administration environmental transportation approximately
""".split()


def sentence_words(generator, count):
    """`count` words with sentence breaks, capitals and commas."""
    words, left = [], 0
    for position in range(count):
        word = generator.choice(WORDS)
        if left == 0:
            word, left = word.capitalize(), generator.randint(6, 18)
        left -= 1
        if left == 0 or position == count - 1:
            word += "."
            left = 0
        elif generator.random() < 0.06:
            word += ","
        words.append(word)
    return " ".join(words)


def mixed_length(generator):
    """Words of a text: log-normal, long tail cut at both ends."""
    return max(3, min(300, round(generator.lognormvariate(3.95, 0.72))))


def write_corpora(folder, mixed, queries, seed):
    """Writes both files; returns their paths."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(seed)
    mixed_path, queries_path = folder / "mixed.txt", folder / "queries.txt"
    texts = [sentence_words(generator, mixed_length(generator)) for _ in range(mixed)]
    mixed_path.write_text("\n".join(texts) + "\n")
    texts = [" ".join(generator.choices(WORDS, k=generator.randint(2, 8))) for _ in range(queries)]
    queries_path.write_text("\n".join(texts) + "\n")
    return mixed_path, queries_path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--mixed", default=1024, type=int, help="texts in mixed.txt")
    parser.add_argument("--queries", default=512, type=int, help="texts in queries.txt")
    parser.add_argument("--seed", default=1, type=int)
    options = parser.parse_args()
    for path in write_corpora(options.folder, options.mixed, options.queries, options.seed):
        lengths = [len(line.split()) for line in path.read_text().splitlines()]
        mean = sum(lengths) / len(lengths)
        print(f"{path}: {len(lengths)} texts, {min(lengths)}..{max(lengths)} words, {mean:.0f} on average")


if __name__ == "__main__":
    main()
