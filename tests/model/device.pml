// Model of lanes whose rows lie on a device: what such a lane has beside that of
// lane.pml. spin visits every order of the steps; check_model runs it.
//
//   Lane(r): supervisor, router     part p of the device          replica r
//   Make exports an arena, Offer    arena  |  landing pages       Open, or a refusal
//   Post                                   |                      TakeSubmission
//                                   arena <=== Stream(r) <======= RunBatch submits
//   Reap: Land begins a copy <----------------------------------- Land (the stream is done), Publish
//             CopyEngine: TakeBatch =====> Dma: arena to landing
//   Reap: FinishLanded <---------- PutLanded
//   Answer, from the landing pages; Call(t) lets go of them
//
// Whatever is asked of the device ends at any time after it was asked: rows of a
// replica until its exit, dead or not; copies of the broker even after the device
// was given up. From then on (DeviceReturn::Lose) nothing is asked of it.
//
// One d_step is one step that no other process can look into, as in lane.pml.
//
// What holds:
//   1. a ticket is answered once (Answer);
//   2. when nothing can happen any more, every ticket is answered and nothing is left (AtTheEnd): no region,
//      no copy, no part but those of lanes that serve; of a device that is lost nothing is given back, and no
//      lane uses it. All runs end, so that is every run;
//   3. rows that are answered are whole and the ticket's own, from the answer until the sender lets go;
//   4. no part is freed, and no region posted anew, while a process or a copy may write or read it;
//   5. what was landing is no suspect when its replica dies.
//
// Left to lane.pml: rings, cells and tails, attempts and seclusion, stops, lies, engine failures, a kill that
// comes too late, reuse of host memory. So rows that return by the host are right here, and taken at once.

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
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef KILLS
#define KILLS 0     // replicas that are killed though they were only slow
#endif
#ifndef CANCELS
#define CANCELS 0
#endif
#ifndef REFUSALS
#define REFUSALS 0  // replicas that cannot open their arena
#endif
#ifndef LOSSES
#define LOSSES 0    // 1: a copy may fail or hang, the device may make no room in time
#endif

#define CELLS 2     // slots of a lane, and regions of a part
#define PARTS (LANES + 1)  // one may be kept by an answer or a copy while a new generation starts
#define TICKETS (SHARDS - SPLIT)
#define TICKET(shard) ((shard) - ((SPLIT && (shard) > 0) -> 1 : 0))
#define TAG(shard) ((shard) + 1)  // what its rows contain; fresh memory contains 0
#define SHARD(tag) ((tag) - 1)

// ---- The device ---------------------------------------------------------------------------------

// LaneDevice: `arena` and `landing`, and who refers to it.
#define UNUSED 0
#define MADE 1
#define LEFT 2       // to the end of the broker: a lost device takes nothing back
#define FREE 0
#define HELD 100     // by a RowBlock; below it: the tag of the shard that the region is posted for
#define NONE 0
#define WAITS 1      // begun, not submitted
#define RUNS 2       // submitted
#define ARRIVED 3    // has ended; the copy engine has not looked
#define KEPT 4       // of a lost device
#define ASTRAY 5     // of a lost device, and may still end
typedef Part {
  byte state;
  bool lane;           // maker, supervisor or port refers to it
  byte arena[CELLS]; byte landing[CELLS]; byte copy[CELLS]; byte region[CELLS];
  bool landed[CELLS]   // LaneMemory::PutLanded; by region, where the code has the slot
}
Part part[PARTS];
byte waiting, running, arrived;  // copies
bool lost;

// The stream of a replica: what it has submitted, in that order.
typedef Stream { byte n; byte region[SHARDS]; byte tag[SHARDS] }
Stream stream[LANES];

#ifdef MUTANT_COPY_WITHOUT_LANE
#define REFERS(copy_) false
#else
#ifdef MUTANT_FORGET_KEPT
#define REFERS(copy_) ((copy_) != NONE && (copy_) < KEPT)
#else
#define REFERS(copy_) ((copy_) != NONE)
#endif
#endif
#define IS_KEPT(p) (part[p].lane || part[p].region[0] >= HELD || part[p].region[1] >= HELD || \
                    REFERS(part[p].copy[0]) || REFERS(part[p].copy[1]))
#define FREE_REGION(p) (part[p].region[0] == FREE || part[p].region[1] == FREE)

// ---- Processes, as the kernel knows them --------------------------------------------------------

#define EMPTY 0      // no process
#define RUNNING 1
#define DYING 2      // runs no more; what its stream holds may still be done
#define GONE 3       // has exited; the pidfd says so
byte life[LANES];
bool killed[LANES];  // SIGKILL sent
byte opened[LANES];  // ImportedArena: 1 + the part
#define BY_HOST 1
#define BY_DEVICE 2
byte ready[LANES];   // which path it took

// A submission in its ring, in the worker's hands, and its completion; read after its death, too.
#define IN_RING 1
#define TAKEN 2
#define RAN 3        // its rows are submitted
#define OK 4         // published
#define WITHDRAWN 5  // published
typedef Job { byte stage; byte region; byte tag; bool cancel }
Job job[LANES * CELLS];

// ---- The search ---------------------------------------------------------------------------------

byte crashes, kills, cancels, refusals, losses;

#include "seen.pml"

// Scratch of one d_step each; no part of the state. (A d_step must not end in a loop, hence `skip`.)
hidden byte it, at, reg, tick, idx, pt, came;

// ---- The processes ------------------------------------------------------------------------------

#include "device_broker.pml"
#include "device_work.pml"

// ---- Claim 2 ------------------------------------------------------------------------------------

proctype AtTheEnd() {
  timeout ->
  d_step {
    for (tick : 0 .. TICKETS - 1) { assert(outcome[tick] != 0) }
    assert(queue.n == 0 && waiting + running + arrived == 0);
    for (it : 0 .. SHARDS - 1) { assert(place[it] == NOWHERE && rows[it] == 0) }
    for (it : 0 .. LANES - 1) {
      assert(SERVES(it) && !port[it].garbage && port[it].slot[0].shard == 0 && port[it].slot[1].shard == 0);
      assert(life[it] == RUNNING && !killed[it] && stream[it].n == 0);
      assert(!lost || !port[it].by_device);
      assert(port[it].part == 0 || PART(it).state == MADE)
    }
    for (it : 0 .. LANES * CELLS - 1) { assert(job[it].stage == 0) }
    for (pt : 0 .. PARTS - 1) {
      assert(part[pt].region[0] == FREE && part[pt].region[1] == FREE);
      assert(lost || part[pt].lane == (part[pt].state == MADE));
      assert(lost || (part[pt].state != LEFT && part[pt].copy[0] == NONE && part[pt].copy[1] == NONE))
    }
    if
    :: lost -> SEEN
    :: else -> SEEN
    fi
  }
}

init {
  atomic {
    for (it : 0 .. SHARDS - 1) {
      queue.at[it] = it;
      place[it] = QUEUED;
      unfinished[TICKET(it)]++
    }
    queue.n = SHARDS;
    for (it : 0 .. LANES - 1) { run Lane(it) }
    for (it : 0 .. TICKETS - 1) { run Call(it) }
    for (it : 0 .. LANES - 1) {
      run Worker(it, CELLS * it);
      run Worker(it, CELLS * it + 1);
      run Fate(it)
    }
    run CopyEngine();
    for (it : 0 .. PARTS - 1) {
      run Dma(it, 0);
      run Dma(it, 1);
      run Unmake(it)
    }
    run AtTheEnd()
  }
}
