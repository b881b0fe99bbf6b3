/* A model of how epochs are prepared, sealed, published and marked, for the model checker Spin.
 *
 * Two schedulers work on one PostgreSQL and one nats-server. Spin tries every interleaving of their steps with
 * crashes, lost acknowledgements, epochs that start before the schedulers are ready, and a database that is
 * restored from an older backup. In every interleaving, each epoch must be sent to subscribers at most once, in
 * order, not before its start, and with the bytes that were sent sealed; at the end, database and stream agree.
 *
 * Names follow the code: schedulers/epochs/loop.py, schedulers/epochs/preparation.py, schedulers/stream/publisher.py
 * and schedulers/stream/adoption.py. A transaction of PostgreSQL and a request to nats-server are one atomic step
 * each. `-DWITHOUT_…` leaves one safeguard out, and Spin must then find a violation (test_publishing_model.py).
 */

#ifndef EPOCHS
#define EPOCHS 3
#endif
#define STREAM_LENGTH (EPOCHS + 1)

/* Time is counted in half epochs: epoch `e` is prepared from 2e-1, starts at 2e and ends at 2e+2. */
#define PREPARED_FROM(e) (2 * (e) - 1)
#define START(e) (2 * (e))
#define END(e) (2 * (e) + 2)
#define LAST_INSTANT (END(EPOCHS) + 1)

/* How often each fault may happen in one run. */
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef LOST_ACKNOWLEDGEMENTS
#define LOST_ACKNOWLEDGEMENTS 1
#endif
#ifndef DELAYS
#define DELAYS 1
#endif
#ifndef RESTORES
#define RESTORES 1
#endif

#define ABSENT 0
#define PENDING 1
#define PUBLISHED 2
#define MISSED 3

byte now;

/* PostgreSQL. Bytes of a message are a number: the first draw of an epoch is 1, another draw is 2, and so on. */
byte state[EPOCHS + 1];
byte row[EPOCHS + 1];
byte draws[EPOCHS + 1];
byte connections;  /* counts restorations; connections from before one fail */

/* The streams EPOCHS and SEALED. `known_id` are the message ids that nats-server remembers. */
byte stream_epoch[STREAM_LENGTH];
byte stream_bytes[STREAM_LENGTH];
byte stream_length;
bool known_id[EPOCHS + 1];
byte sealed[EPOCHS + 1];

/* What subscribers got. */
byte newest_delivered;

byte waits_until[2];  /* the instant for which a scheduler waits, or 0 */
bool finished[2];
byte crashes, lost_acknowledgements, delays, restores;

inline may_crash() {
  if
  :: crashes < CRASHES -> crashes++; printf("%d crashes\n", me); goto restart
  :: true
  fi
}

#define CHECK_CONNECTION if :: connection != connections -> printf("%d has lost its connection\n", me); goto restart :: else fi

#define NEWEST (stream_length == 0 -> 0 : stream_epoch[stream_length - 1])

/* Sends an epoch to the stream EPOCHS. `reply` is whether the stream accepted it as new. */
inline send(epoch, bytes, after) {
  atomic {
    if
#ifndef WITHOUT_MESSAGE_IDS
    :: known_id[epoch] -> reply = false
#endif
#ifndef WITHOUT_EXPECTED_LAST_MESSAGE
#ifdef WITHOUT_EXPECTED_EMPTY_STREAM
    :: after != 0 && after != NEWEST -> reply = false
#else
    :: after != NEWEST -> reply = false
#endif
#endif
    :: else ->
      assert(now >= START(epoch));                      /* never early */
      assert(newest_delivered < epoch);                 /* in order, and once */
      assert(sealed[epoch] == 0 || sealed[epoch] == bytes);  /* what subscribers can open already */
      newest_delivered = epoch;
      assert(stream_length < STREAM_LENGTH);
      stream_epoch[stream_length] = epoch;
      stream_bytes[stream_length] = bytes;
      stream_length++;
      known_id[epoch] = true;
      reply = true;
      printf("%d publishes epoch %d, bytes %d\n", me, epoch, bytes)
    fi;
    if
    :: lost_acknowledgements < LOST_ACKNOWLEDGEMENTS -> lost_acknowledgements++; goto restart
    :: true
    fi
  }
}

/* Copies a message of the stream to the database if they differ. */
inline adopt(place) {
#ifndef WITHOUT_ADOPTION
  other = stream_epoch[place];
  if
  :: row[other] != stream_bytes[place] ->
    row[other] = stream_bytes[place];
    state[other] = PUBLISHED;
    printf("%d adopts epoch %d\n", me, other);
    other--;
    do
    :: other > 0 && state[other] == ABSENT -> state[other] = MISSED; other--
    :: else -> break
    od
  :: else
  fi;
  other = 0
#else
  skip
#endif
}

/* Publisher.publish, and then _settle, _find, _mark or _give_up. */
inline publish(epoch, bytes) {
  reply = false;
#ifdef WITHOUT_PUBLISHING_BEFORE_MARKING
  atomic { CHECK_CONNECTION; if :: state[epoch] == PENDING -> state[epoch] = PUBLISHED :: else fi };
#endif
  if
  :: last < epoch -> may_crash(); send(epoch, bytes, last); may_crash()
  :: else
  fi;
#ifndef WITHOUT_SETTLING
  if
  :: !reply ->
    last = NEWEST;
    do
    :: last < epoch && !reply ->
      send(epoch, bytes, last);
#ifdef WITHOUT_SENDING_AGAIN
      break
#else
      if
      :: !reply && last == NEWEST -> break  /* the stream has lost a message whose id it remembers */
      :: !reply && last != NEWEST -> last = NEWEST
      :: reply
      fi
#endif
    :: else -> break
    od
  :: else
  fi;
  if
  :: !reply ->
    atomic {
      place = stream_length;
      do
      :: place > 0 && stream_epoch[place - 1] != epoch -> place--
      :: else -> break
      od
    };
    atomic {
      CHECK_CONNECTION;
      if
      :: place > 0 -> place--; adopt(place); place = 0; reply = true
      :: else -> if :: state[epoch] == PENDING -> state[epoch] = MISSED; printf("%d gives epoch %d up\n", me, epoch) :: else fi
      fi
    }
  :: else
  fi;
#else
  reply = true;
#endif
  if
  :: reply ->
    if :: last < epoch -> last = epoch :: else fi;
    may_crash();
    atomic { CHECK_CONNECTION; if :: state[epoch] == PENDING -> state[epoch] = PUBLISHED :: else fi };
    may_crash()
  :: else
  fi;
  reply = false
}

/* Preparer.prepare. `drawn` becomes the bytes to publish, or 0 if the epoch ended before it was prepared. */
inline prepare(epoch) {
  drawn = 0;
#ifndef WITHOUT_READING_SEALED
  agreed = sealed[epoch];
#endif
  if
  :: agreed == 0 ->
    may_crash();
    atomic {  /* draw */
      CHECK_CONNECTION;
      if
      :: state[epoch] == ABSENT && now < END(epoch) ->
        draws[epoch]++;
        row[epoch] = draws[epoch];
        state[epoch] = PENDING;
        printf("%d draws epoch %d, bytes %d\n", me, epoch, row[epoch])
      :: else
      fi;
      drawn = row[epoch]
    };
    may_crash();
    atomic {  /* send it sealed, unless it has been opened already */
      CHECK_CONNECTION;
      if
      :: state[epoch] == PENDING && now < START(epoch) && sealed[epoch] == 0 -> sealed[epoch] = row[epoch]; printf("%d seals epoch %d\n", me, epoch)
#ifndef WITHOUT_READING_SEALED
      :: state[epoch] == PENDING && now < START(epoch) && sealed[epoch] != 0 -> agreed = sealed[epoch]
#endif
      :: else
      fi
    };
    may_crash()
  :: else
  fi;
  if
  :: agreed != 0 ->
    atomic {  /* as_sealed */
      CHECK_CONNECTION;
      if
      :: state[epoch] == PENDING && row[epoch] != agreed && now < START(epoch) ->
        state[epoch] = ABSENT;
        row[epoch] = 0;
        drawn = agreed
      :: state[epoch] == ABSENT -> drawn = agreed
      :: else -> drawn = row[epoch]
      fi
    }
  :: else
  fi;
  agreed = 0
}

inline wait_until(instant) {
  waits_until[me] = instant;
  now >= instant;
  waits_until[me] = 0
}

/* Publisher.publish_due: the epochs that have started, oldest first. */
inline publish_due() {
  epoch = 0;
  do
  :: atomic {
      CHECK_CONNECTION;
      do
      :: epoch <= EPOCHS && !(state[epoch] == PENDING && now >= START(epoch)) -> epoch++
      :: else -> break
      od;
      if
      :: epoch > EPOCHS -> epoch = 0; drawn = 0; break
      :: else -> drawn = row[epoch]
      fi
    };
    publish(epoch, drawn)
  od
}

/* Publisher.open: reads the newest message, and adopts what differs, oldest first. */
inline open_stream() {
  atomic { last = NEWEST; length = stream_length };
  atomic {
    CHECK_CONNECTION;
    place = 0;
    do
    :: place < length -> adopt(place); place++
    :: else -> break
    od;
    place = 0;
    length = 0
  }
}

proctype Scheduler(byte me) {
  byte connection, last, length, epoch, place, other, drawn, agreed, running;
  bool reply, is_last_round;
restart:
  skip;
  d_step {
    connection = connections;
    last = 0; length = 0; epoch = 0; place = 0; other = 0; drawn = 0; agreed = 0; running = 0;
    reply = false; is_last_round = false;
    waits_until[me] = 0
  };
  do
  :: true ->
    is_last_round = (now >= LAST_INSTANT);
    running = (now / 2 > EPOCHS -> EPOCHS + 1 : now / 2);
    open_stream();
    publish_due();
    /* The running epoch and those before it that the database lacks: publish what was sealed. */
    epoch = 1;
    do
    :: atomic {
        CHECK_CONNECTION;
        do
#ifdef WITHOUT_RUNNING_SEALED_EPOCH
        :: epoch <= running && (epoch == running || !(state[epoch] == ABSENT && sealed[epoch] != 0)) -> epoch++
#else
        :: epoch <= running && !(epoch <= EPOCHS && state[epoch] == ABSENT && sealed[epoch] != 0) -> epoch++
#endif
        :: else -> break
        od;
        if
        :: epoch > running -> break
        :: else
        fi
      };
      prepare(epoch);
      publish(epoch, drawn);
      open_stream();
      epoch++
    od;
    atomic {
      CHECK_CONNECTION;
      epoch = 1;
      do
      :: epoch < running ->
        if :: state[epoch] == ABSENT -> state[epoch] = MISSED; printf("%d records epoch %d as missed\n", me, epoch) :: else fi;
        epoch++
      :: else -> break
      od;
      epoch = 0
    };
    may_crash();
    if
    :: running >= 1 && running <= EPOCHS && state[running] == ABSENT ->
      prepare(running);
      publish_due()
    :: else
    fi;
    if
    :: is_last_round -> break
    :: else
    fi;
    /* If another epoch has started in the meantime, repeat these steps. Otherwise the next epoch is the prepared
       one, or the first one after all prepared ones. */
    atomic {
      CHECK_CONNECTION;
      if
      :: now / 2 == running || running > EPOCHS ->
        epoch = running + 1;
        do
        :: epoch <= EPOCHS && (state[epoch] == PUBLISHED || state[epoch] == MISSED) -> epoch++
        :: else -> break
        od
      :: else -> epoch = 0
      fi
    };
    if
    :: epoch == 0 -> skip
    :: epoch > EPOCHS -> wait_until(LAST_INSTANT)
    :: else ->
      wait_until(PREPARED_FROM(epoch));
      prepare(epoch);
      if
      :: drawn != 0 ->
#ifndef WITHOUT_START_GATE
        wait_until(START(epoch));
#endif
        publish(epoch, drawn)
      :: else
      fi
    fi
  od;
  finished[me] = true
}

/* Time passes when a scheduler has done all that is due, or, as a fault, at any moment. */
proctype Clock() {
  do
  :: atomic { now < LAST_INSTANT && (waits_until[0] > now || waits_until[1] > now) -> now++; printf("it is %d\n", now) }
  :: atomic { now < LAST_INSTANT && delays < DELAYS -> delays++; now++; printf("it is %d too soon\n", now) }
  :: now == LAST_INSTANT -> break
  od
}

/* Restores a backup from before the newest row, or from before it was marked. */
proctype Restorer() {
  byte newest;
  do
  :: atomic {
      restores < RESTORES && now < LAST_INSTANT ->
      newest = EPOCHS;
      do
      :: newest > 0 && state[newest] == ABSENT -> newest--
      :: else -> break
      od;
      if
      :: newest > 0 && state[newest] == PUBLISHED -> state[newest] = PENDING; restores++; connections++; printf("restored: epoch %d is pending\n", newest)
      :: newest > 0 && state[newest] != MISSED -> state[newest] = ABSENT; row[newest] = 0; restores++; connections++; printf("restored: epoch %d is absent\n", newest)
      :: true -> restores = RESTORES
      fi;
      newest = 0
    }
  :: restores == RESTORES || now == LAST_INSTANT -> break
  od
}

init {
  byte epoch, place;
  atomic { run Scheduler(0); run Scheduler(1); run Clock(); run Restorer() };
  finished[0] && finished[1];
  d_step {
    epoch = 1;
    do
    :: epoch <= EPOCHS ->
      place = stream_length;
      do
      :: place > 0 && stream_epoch[place - 1] != epoch -> place--
      :: else -> break
      od;
      if
      :: place > 0 -> assert(state[epoch] == PUBLISHED && row[epoch] == stream_bytes[place - 1])
      :: else -> assert(state[epoch] == MISSED); assert(delays > 0)
      fi;
      epoch++
    :: else -> break
    od
  }
}
