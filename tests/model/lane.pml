// Model of a lane: a shard is posted, taken, published and reaped, while every
// process that may write shared memory dies, hangs or comes back late at any
// step. spin visits every order of the steps; check_model runs it.
//
//   Call(t)             Lane(r): router and supervisor        replica process b
//   cancels, or sends    | the dispatch lock  |   segment s      | worker of the shim
//   the rows of its      | queue, suspects    |=== sub ring ====>| take: cell, head
//   answer and lets go   | slots, regions     |=== prompts =====>| run: row_a, row_b
//   of their regions     | attempts, outcome  |<== rows =========| publish: cell, tail
//                        | generation         |<== com ring =====| Fate(b): crash, stop, resume,
//                                                                |          suspicion, SIGKILL
//
// Steps, named as in the code (docs/memory_model.md has the table):
//   Lane    Spawn, OnServing, SecludeLanes, PostSuspects, PostFront, Submit (the tail), Reap,
//           TakeKillRequests, OnDoomed (with Abandon), OnExit (with OnGone)
//   Worker  MarkReady, TakeSubmission (cell, then head), Accept, DropWithdrawn, RunBatch (two writes),
//           Publish (cell, then tail)
//   Fate    crash, stop, resume, suspicion, SIGKILL; for a liar Replay, JumpTail, JumpHead
//   Call    Cancel, ReleaseResponse
//
// One d_step is one step that no other process can look into: a single access
// to shared memory that others may write, or work under the dispatch lock on
// the broker's own memory. A process may die between any two steps of it.
//
// What holds:
//   1. a ticket is answered once (Answer);
//   2. when nothing can happen any more, every ticket is answered and nothing is left behind (AtTheEnd);
//      all runs end, so that is every run (check_model looks for cycles, too);
//   3. rows that are answered are whole and the ticket's own, from the answer until the sender lets go;
//   4. no region and no segment is used anew while a process that may write it lives, doomed ones included;
//   5. LOST means three attempts; a poison shard is lost so, and takes no innocent with it.
//
// Simpler than the code, on purpose: the steps are sequentially consistent (memory orders are the
// business of the tests under TSan); bells are left out, since Reap and Take may come at any time
// whether anybody rang or not; the router may delay any post, so arrivals need no step of their own;
// memory that is freed reads as 0; a liar lies in its rings, not in rows that it may write.

// Sizes and budgets. check_model sets them per configuration.
#ifndef LANES
#define LANES 2
#endif
#ifndef SHARDS
#define SHARDS 2
#endif
#ifndef SPLIT
#define SPLIT 0     // 1: shards 0 and 1 are one ticket
#endif
#ifndef CELLS
#define CELLS 2     // of either ring; as many slots and response regions
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef KILLS
#define KILLS 0     // replicas that are killed though they only were slow
#endif
#ifndef HANGS
#define HANGS 0     // stops, each followed by SIGKILL, or by SIGCONT and then perhaps SIGKILL
#endif
#ifndef CANCELS
#define CANCELS 0
#endif
#ifndef FAILS
#define FAILS 0     // engine failures
#endif
#ifndef LIES
#define LIES 0      // completions replayed, impossible positions
#endif
#ifndef POISON
#define POISON 0    // 1: one shard, any of them, kills who runs it
#endif

#define TICKETS (SHARDS - SPLIT)
#define TICKET(shard) ((shard) - ((SPLIT && (shard) > 0) -> 1 : 0))
#define DETAIL 200                        // what a failed engine says
#define TAG(shard) ((shard) + 1)          // what its prompts and its rows contain
#define SHARD(tag) ((tag) - 1)
#define SEGMENTS (LANES + 1)              // one may be kept by an answer while a new generation starts
#ifdef MUTANT_REQUEUE_BEFORE_EXIT_WITH_REUSE
#define BODIES (LANES + 1)                // the old process and the new one live at once
#else
#define BODIES LANES
#endif
#define JOBS 2                            // that a worker holds at once
#define MAX_ATTEMPTS 3                    // Router::kMaxAttempts
#define NOBODY 255

// ---- Shared memory ------------------------------------------------------------------------------

#define OK 1
#define FAILED 2
#define WITHDRAWN 3
typedef Submission { byte cookie; byte slot; byte region }
typedef Completion { byte cookie; byte slot; byte status }
typedef Segment {
  // Written by the broker. The request region of a submission has the number of its slot.
  byte sub_tail; byte com_head; Submission sub[CELLS]; byte prompt[CELLS]; byte cancel[CELLS];
  // Written by the replica. A row is written by two stores at least.
  bool ready; byte sub_head; byte com_tail; Completion com[CELLS]; byte row_a[CELLS]; byte row_b[CELLS]
}
Segment seg[SEGMENTS];

// ---- Processes, as the kernel knows them --------------------------------------------------------

#define EMPTY 0      // no process
#define RUNNING 1
#define STOPPED 2    // hangs; its memory is intact, and it may go on at any time
#define GONE 3       // has exited; the pidfd says so
#define LIVES(b) (life[b] == RUNNING || life[b] == STOPPED)
byte life[BODIES];
byte maps[BODIES];      // its segment
bool killed[BODIES];    // SIGKILL sent: it takes effect some time later
bool mute[BODIES];      // a liar that works no more

// What a worker holds. Private to it; global so that claim 4 can be checked.
#define COPIED 1     // the cell is copied, the head not stored
#define ACCEPTED 2
#define HALF 3       // row_a is written
#define DONE 4       // has its status
#define CELL 5       // the completion's cell is written, the tail not stored
typedef Job { byte stage; byte cookie; byte slot; byte region; byte tag; byte status }
Job job[BODIES * JOBS];

// ---- The search ---------------------------------------------------------------------------------

byte poison = NOBODY;
byte crashes, kills, hangs, cancels, fails, lies;

#include "seen.pml"

// Scratch of one d_step each; no part of the state.
hidden byte it, at_slot, at_region, tick, idx, sg, taken, now_at, came_status, came_cookie;

// ---- The processes ------------------------------------------------------------------------------

#include "books.pml"
#include "broker.pml"
#include "replica.pml"

// ---- Claim 2 ------------------------------------------------------------------------------------

proctype AtTheEnd() {
  timeout ->
  d_step {
    for (tick : 0 .. TICKETS - 1) {
      assert(outcome[tick] != 0);
      assert(outcome[tick] != LOST || POISON || CRASHES + KILLS + HANGS + FAILS + LIES >= MAX_ATTEMPTS);
      if
      :: POISON ->  // claim 5
         assert(outcome[tick] == CANCELLED || (outcome[tick] == LOST) == (tick == TICKET(poison)))
      :: else
      fi
    }
    assert(queue.n == 0 && suspects.n == 0);
    for (it : 0 .. SHARDS - 1) { assert(place[it] == NOWHERE && rows[it] == 0) }
    for (it : 0 .. LANES - 1) {
      assert(SERVES(it) && port[it].seclusion == NONE && !port[it].garbage && port[it].kill_request == 0);
      assert(!IN_FLIGHT(it) && books[port[it].s].lane);
      assert(life[port[it].body] == RUNNING && !killed[port[it].body])
    }
    for (sg : 0 .. SEGMENTS - 1) { assert(books[sg].region[0] == FREE && books[sg].region[1] == FREE) }
    for (it : 0 .. BODIES * JOBS - 1) { assert(job[it].stage == 0) }
    SEEN
  }
}

init {
  atomic {
    if
    :: POISON -> select (poison : 0 .. SHARDS - 1)
    :: else
    fi;
    for (it : 0 .. SHARDS - 1) {
      queue.at[it] = it;
      place[it] = WAITS;
      unfinished[TICKET(it)]++
    }
    queue.n = SHARDS;
    for (it : 0 .. LANES - 1) { run Lane(it) }
    for (it : 0 .. TICKETS - 1) { run Call(it) }
    for (it : 0 .. BODIES - 1) {
      run Worker(it, JOBS * it);
      run Worker(it, JOBS * it + 1);
      run Fate(it)
    }
    run AtTheEnd()
  }
}
