// Model of consumers and their leases: what the broker does beside the lane's
// model, to give a process rows on the device. spin visits every order of the
// steps; check_model runs it.
//
//   Process(p), its connection c      Desk(c), its book               Lane                  device
//   Connect, hello ----------------->  OnHello: MakeArena, or its old one              arena a of p
//   Open  <--------------------------  the offer
//   Embed  ------------------------->  Submit: a place is taken  ---> Post, OnAnswer   region of a part
//                                                                     CopyEngine: Gather ===> Dma: region to place
//   HELD, or kept <------------------  OnEnd: Lease  <--------------- TellDone; the region is released
//   BACK, once, twice, or never ---->  OnReturn
//   LetGo  ------------------------->  OnClosed
//   hangs up, or dies -------------->  Leave, or by its exit ForgetTheGone; then Free
//
// One d_step is one step that no other process can look into, as in lane.pml. What a connection carries is
// heard late, or after its end, or not at all.
//
// What holds:
//   1. no copy goes into or out of memory that was freed, and no region is posted anew while rows are read there;
//   2. a place is in one live lease at most;
//   3. rows that are leased are whole and the request's own, until they are given back or their arena is let go
//      of; hanging up alone does not end that;
//   4. no arena is freed while it is open, and none goes to another process. Nor is one made anew for who
//      has let go of its old one and said so, once its end was heard;
//   5. when nothing can happen any more (AtTheEnd), every request of those who are there has its end, whoever
//      keeps leases; places are taken by leases alone, regions by none; and when all processes are gone nothing
//      is left, but what a lost device or one left to the end may still write to. All runs end, so that is every run.
//
// Left to lane.pml and device.pml: how rows come into a region, and what a replica's death does there.

// Sizes and budgets. check_model sets them per configuration.
#ifndef PROCESSES
#define PROCESSES 1
#endif
#ifndef COMES
#define COMES 1      // connections that each makes, one after the other
#endif
#ifndef REQUESTS
#define REQUESTS 2   // of all processes together, dealt in turn
#endif
#ifndef PLACES
#define PLACES 1     // of an arena
#endif
#ifndef REGIONS
#define REGIONS 1    // of the lane
#endif
#ifndef BY_HOST
#define BY_HOST 0    // 1: the lane's rows are on the host from the beginning
#endif
#ifndef DEATHS
#define DEATHS 0     // of consumers
#endif
#ifndef LETGOES
#define LETGOES 0    // that let go of their arena, say so, and hang up
#endif
#ifndef HANGUPS
#define HANGUPS 0    // without having let go
#endif
#ifndef KEEPS
#define KEEPS 0      // leases that are never given back
#endif
#ifndef TWICE
#define TWICE 0      // leases that are given back twice
#endif
#ifndef CANCELS
#define CANCELS 0    // requests whose time is over
#endif
#ifndef CRASHES
#define CRASHES 0    // of the replica
#endif
#ifndef LOSSES
#define LOSSES 0     // 1: a copy may fail or hang, the device may make no room in time
#endif
#ifndef LEAVES
#define LEAVES 0     // 1: the desk ends, at any time
#endif

// The macros below spell out so many.
#define MAX_CONNS 4
#define MAX_REQUESTS 3
#if PROCESSES * 2 > MAX_CONNS || COMES > 2 || REQUESTS > MAX_REQUESTS || REGIONS > 2
#error "too many"
#endif
#define CONN(p, k) ((p) * 2 + (k))
#define OWNER(c) ((c) / 2)
#define OF(r) ((r) % PROCESSES)   // whose request it is
#define TAG(r) ((r) + 1)          // what its rows contain; fresh memory contains 0
#define ARENAS (PROCESSES * COMES)
#define PARTS 2                   // one may be kept by a copy while a new generation starts

// ---- The device ---------------------------------------------------------------------------------

#define UNUSED 0
#define MADE 1
#define LEFT 2       // to the end of the broker
typedef Arena { byte state; byte owner; byte row[PLACES] }  // owner: 1 + the process that it was offered to
Arena arena[ARENAS];

// The lane's memory, on the device or the host.
#define FREE 0
#define HELD_BY_ROWS 100  // a RowBlock; below it: the tag of the request that the region is posted for
typedef Part { byte state; bool lane; bool host; byte region[REGIONS]; byte row[REGIONS] }
Part part[PARTS];
byte lane;           // 1 + its part; 0: a new generation is not there yet
bool lost;
bool abandoned;      // DeviceReturn::LeaveToTheEnd

// ---- What is asked for --------------------------------------------------------------------------

// As its process, or its socket, knows it.
#define IDLE 0
#define SENT 1       // in the socket
#define ACCEPTED 2   // Consumer::requests_
#define TOLD 3       // leased; in the socket
#define HELD 4       // is read
#define KEPT_FOR_EVER 5
#define BACK 6       // given back; in the socket
#define RETURNED 7
#define AGAIN 8      // given back once more; in the socket
#define FAILED 9     // and told so
#define NOBODYS 10   // its connection is no more
// As the router knows it.
#define NONE 0
#define QUEUED 1
#define POSTED 2
#define CANCELLED 3  // answered, but a replica still holds it
#define GATHERING 4
#define ENDED 5
// As the copy engine does.
#define WAITS 1
#define RUNS 2       // submitted
#define ARRIVED 3    // has ended; the copy engine has not looked
#define KEPT 4       // of a lost device
#define ASTRAY 5     // of a lost device, and may still end
// As the mailbox does.
#define OK 1
#define NO_ROWS 2
typedef Request {
  byte stage; byte ticket; byte gather; byte mail;
  byte conn; byte to; byte place;  // to: 1 + the arena
  byte part; byte region;
  bool leased                      // LeaseBook::held_
}
Request req[MAX_REQUESTS];

// ---- Who asks -----------------------------------------------------------------------------------

bool gone[PROCESSES];  // has exited; the pidfd says so
#define ABSENT 0
#define HELLO 1        // has connected and said it
#define SERVED 2       // has opened its arena
#define HUNG 3
typedef Conn {
  // Of the process:
  byte client; byte opened;         // opened: 1 + the arena
  bool said;                        // that it has let go
  // In the socket:
  byte offer; bool closing;
  // Of the desk:
  bool heard; bool unreachable; bool left; bool closed; byte arena; byte taken[PLACES]
}
Conn conn[MAX_CONNS];
#define IS_OPEN(a) (conn[0].opened == (a) + 1 || conn[1].opened == (a) + 1 || \
                    conn[2].opened == (a) + 1 || conn[3].opened == (a) + 1)
// A lease that its process may be reading.
#define IS_READ(r) (req[r].stage >= TOLD && req[r].stage <= KEPT_FOR_EVER && conn[req[r].conn].opened == req[r].to)

byte deaths, letgoes, hangups, keeps, twice, cancels, crashes, losses;
bool draining, leaving, ended;
bool over;             // nothing more can happen but that processes end

// Scratch of one d_step each; no part of the state. (A d_step must not end in a loop, hence `skip`.)
hidden byte it, at, ar, pl, pt, reg, other;

#include "seen.pml"
#include "leases_broker.pml"

// ---- A consumer ---------------------------------------------------------------------------------

#define CUR CONN(p, k)
#define HOLDS_ONE(r) (OF(r) == p && req[r].conn == CUR && req[r].stage >= TOLD && req[r].stage <= KEPT_FOR_EVER)
#define HOLDS (HOLDS_ONE(0) || HOLDS_ONE(1) || HOLDS_ONE(2))

// What was told, and not read, is lost with the connection. What is held may be read on.
inline HangUp() {
  conn[CUR].client = HUNG;
  for (it : 0 .. REQUESTS - 1) {
    if
    :: OF(it) == p && req[it].stage == TOLD && req[it].conn == CUR -> req[it].stage = NOBODYS
    :: else
    fi
  };
  skip
}

proctype Process(byte p) {
  byte k;
end:
  do
  :: d_step { !gone[p] && conn[CUR].client == ABSENT && !ended -> SEEN; conn[CUR].client = HELLO }
  :: d_step { !gone[p] && conn[CUR].client == HELLO && conn[CUR].offer != 0 ->  // ImportedArena::Open
       SEEN;
       assert(arena[conn[CUR].offer - 1].state != UNUSED && arena[conn[CUR].offer - 1].owner == p + 1);  // claim 4
       conn[CUR].opened = conn[CUR].offer;
       conn[CUR].client = SERVED }
  // With requests under way, too: GpuConsumer does not, others may. In two steps, as it may die between them.
  :: d_step { !gone[p] && conn[CUR].client == SERVED && conn[CUR].opened != 0 && !HOLDS &&
              letgoes < LETGOES ->
       SEEN; letgoes++; conn[CUR].opened = 0; conn[CUR].said = true; conn[CUR].closing = true }
  :: d_step { !gone[p] && conn[CUR].client == SERVED && conn[CUR].said -> SEEN; HangUp() }
  :: d_step { !gone[p] && (conn[CUR].client == HELLO || conn[CUR].client == SERVED) && !conn[CUR].said &&
              hangups < HANGUPS -> SEEN; hangups++; HangUp() }
  :: d_step { !gone[p] && conn[CUR].client == HELLO && conn[CUR].left && conn[CUR].offer == 0 -> SEEN; HangUp() }
  :: d_step { !gone[p] && conn[CUR].client == HUNG && k + 1 < COMES -> SEEN; k++ }
  // Its exit; the driver closes what it opened.
  :: d_step { !gone[p] && (over || deaths < DEATHS) ->
       SEEN;
       deaths = (over -> deaths : deaths + 1);
       gone[p] = true;
       for (at : 0 .. COMES - 1) {
         conn[CONN(p, at)].opened = 0;
         conn[CONN(p, at)].client = (conn[CONN(p, at)].client == ABSENT -> ABSENT : HUNG)
       }
       for (it : 0 .. REQUESTS - 1) {
         if
         :: OF(it) == p && req[it].stage >= TOLD && req[it].stage <= KEPT_FOR_EVER -> req[it].stage = NOBODYS
         :: else
         fi
       }
       k = 0 }
  od
}

// Claim 3.
inline CheckLease(r) {
  assert(arena[req[r].to - 1].state != UNUSED && arena[req[r].to - 1].row[req[r].place] == TAG(r))
}

#define MAY_SPEAK(c) (conn[c].client == SERVED && !conn[c].said)

// One request of a process, and the lease that comes of it.
proctype Reader(byte r) {
end:
  do
  :: d_step { req[r].stage == IDLE && MAY_SPEAK(CONN(OF(r), 0)) -> SEEN; req[r].conn = CONN(OF(r), 0); req[r].stage = SENT }
  :: d_step { req[r].stage == IDLE && MAY_SPEAK(CONN(OF(r), 1)) -> SEEN; req[r].conn = CONN(OF(r), 1); req[r].stage = SENT }
  :: d_step { req[r].stage == TOLD ->
       if
       :: conn[req[r].conn].opened != 0 -> SEEN; CheckLease(r); req[r].stage = HELD
       :: else -> SEEN; req[r].stage = NOBODYS  // it has let go meanwhile
       fi }
  :: d_step { req[r].stage == HELD && keeps < KEEPS -> SEEN; keeps++; req[r].stage = KEPT_FOR_EVER }
  :: d_step { req[r].stage == HELD ->
       CheckLease(r);
       if
       :: MAY_SPEAK(req[r].conn) -> SEEN; req[r].stage = BACK
       :: else -> SEEN; req[r].stage = NOBODYS
       fi }
  :: d_step { req[r].stage == RETURNED && twice < TWICE && MAY_SPEAK(req[r].conn) ->
       SEEN; twice++; req[r].stage = AGAIN }
  od
}

// ---- Claim 5 ------------------------------------------------------------------------------------

#define SURVIVES(r) (lost && (req[r].gather == KEPT || req[r].gather == ASTRAY))

inline CheckRegions() {
  for (pt : 0 .. PARTS - 1) {
    for (reg : 0 .. REGIONS - 1) {
      other = 0;
      for (it : 0 .. REQUESTS - 1) {
        other = other + (SURVIVES(it) && req[it].part == pt && req[it].region == reg)
      }
      assert((part[pt].region[reg] != FREE) == other)
    }
  }
}

proctype AtTheEnd() {
  timeout ->
  d_step {
    for (it : 0 .. REQUESTS - 1) {
      assert(req[it].stage != SENT && req[it].stage != ACCEPTED && req[it].stage != TOLD && req[it].stage != HELD);
      assert(req[it].ticket == NONE || req[it].ticket == ENDED || SURVIVES(it));
      assert(req[it].mail == 0 && (req[it].gather == NONE || SURVIVES(it)));
      if
      :: req[it].stage == KEPT_FOR_EVER -> SEEN; CheckLease(it)
      :: else
      fi
    }
    CheckRegions();
    for (at : 0 .. MAX_CONNS - 1) {
      for (pl : 0 .. PLACES - 1) {
        other = conn[at].taken[pl];
        assert(lost || conn[at].left || other == 0 || req[other - 1].stage == KEPT_FOR_EVER)
      }
    }
    over = true
  }
  timeout ->
  d_step {
    CheckRegions();
    for (ar : 0 .. ARENAS - 1) {
      assert(!IS_OPEN(ar));
      if
      :: arena[ar].state == UNUSED -> SEEN
      :: arena[ar].state == LEFT -> SEEN; assert(lost || abandoned)
      :: else -> SEEN; assert(lost && USES(ar) > 0)
      fi
    }
    for (at : 0 .. MAX_CONNS - 1) { assert(conn[at].arena == 0) }
  }
}

init {
  atomic {
    part[0].state = MADE;
    part[0].lane = true;
    part[0].host = BY_HOST;
    lane = 1;
    for (it : 0 .. PROCESSES - 1) { run Process(it) }
    for (it : 0 .. PROCESSES - 1) {
      for (at : 0 .. COMES - 1) { run Desk(CONN(it, at)) }
    }
    for (it : 0 .. REQUESTS - 1) {
      run Reader(it);
      run Ticket(it);
      run Dma(it)
    }
    for (it : 0 .. ARENAS - 1) { run Free(it) }
    run DeskEnd();
    run Lane();
    run CopyEngine();
    run AtTheEnd()
  }
}
