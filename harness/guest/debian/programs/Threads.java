// SPDX-License-Identifier: GPL-2.0-only
//
// A Java process with many threads, which looks after itself: a ring that hands a number
// on, workers whose numbers can be computed again from how many there were, makers of
// garbage that must have what was put into it, and a timer. Its socket answers questions.

import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

public final class Threads {
	static final int RING = 24, WORKERS = 32, MAKERS = 2, BLOCK = 500;
	static final long FACTOR = 6364136223846793005L, SUMMAND = 1442695040888963407L;

	static final List<Thread> threads = new ArrayList<>();
	static final List<Worker> workers = new ArrayList<>();
	static final AtomicLong token = new AtomicLong(), made = new AtomicLong();
	static final AtomicLong ticks = new AtomicLong();
	static volatile String wrong = "";

	static void pause(long milliseconds) {
		try {
			Thread.sleep(milliseconds);
		} catch (InterruptedException exc) {
			throw new IllegalStateException("interrupted", exc);
		}
	}

	static final class Worker implements Runnable {
		final long seed;
		long value, steps;
		double floats;

		Worker(long seed) {
			this.seed = seed;
			this.value = seed;
			this.floats = block();
		}

		static double block() {
			double sum = 0;
			for (int i = 1; i <= BLOCK; i++)
				sum += Math.sqrt(i) / (i + 0.25) - 1.0 / (i * 3.0);
			return sum;
		}

		@Override
		public void run() {
			for (;;) {
				synchronized (this) {
					for (int i = 0; i < BLOCK; i++)
						value = value * FACTOR + SUMMAND;
					steps += BLOCK;
				}
				double again = block();
				if (Double.doubleToRawLongBits(again) != Double.doubleToRawLongBits(floats))
					wrong = "floating point: " + again + " and not " + floats;
				pause(2000);
			}
		}

		// Where it must be by now: each step is x -> a x + b, and so are many.
		synchronized boolean right() {
			long a = 1, b = 0, factor = FACTOR, summand = SUMMAND;
			for (long left = steps; left != 0; left >>>= 1) {
				if ((left & 1) != 0) {
					a = a * factor;
					b = b * factor + summand;
				}
				summand = summand * (factor + 1);
				factor = factor * factor;
			}
			return value == a * seed + b;
		}
	}

	static void ring() {
		List<BlockingQueue<Long>> queues = new ArrayList<>();
		for (int i = 0; i < RING; i++)
			queues.add(new ArrayBlockingQueue<>(1));
		for (int i = 0; i < RING; i++) {
			final int mine = i;
			start("ring-" + i, () -> {
				try {
					for (;;) {
						long got = queues.get(mine).take();
						if (got % RING != mine || got != token.get())
							wrong = "ring: " + got + " at " + mine;
						token.set(got + 1);
						pause(60);
						queues.get((mine + 1) % RING).put(got + 1);
					}
				} catch (InterruptedException exc) {
					throw new IllegalStateException("interrupted", exc);
				}
			});
		}
		queues.get(0).add(0L);
	}

	static void make() {
		for (long round = 0; ; round++) {
			Map<Long, String> map = new HashMap<>();
			for (long i = 0; i < 200; i++)
				map.put(i * round, "text " + (i ^ round));
			pause(700);
			for (long i = 1; round > 0 && i < 200; i++)
				if (!("text " + (i ^ round)).equals(map.get(i * round)))
					wrong = "an object lost its content";
			made.incrementAndGet();
		}
	}

	static void start(String name, Runnable what) {
		Thread thread = new Thread(what, name);
		thread.setDaemon(true);
		thread.start();
		threads.add(thread);
	}

	static String status() {
		long alive = threads.stream().filter(Thread::isAlive).count(), steps = 0;
		String bad = wrong;
		for (int i = 0; i < workers.size(); i++) {
			if (!workers.get(i).right())
				bad = "worker " + i + " is not where it must be";
			steps += workers.get(i).steps;
		}
		return String.format("{\"threads\": %d, \"alive\": %d, \"token\": %d, \"steps\": %d, "
				+ "\"made\": %d, \"ticks\": %d, \"wrong\": \"%s\"}%n", threads.size(), alive,
				token.get(), steps, made.get(), ticks.get(), bad);
	}

	static String answer(String asked) {
		if (asked.equals("value"))
			synchronized (workers.get(5)) {
				workers.get(5).value ^= 1L << 33;
			}
		if (asked.equals("thread"))
			threads.get(3).interrupt();
		pause(asked.equals("status") ? 0 : 100);
		return status();
	}

	public static void main(String[] arguments) throws Exception {
		for (int i = 0; i < WORKERS; i++) {
			workers.add(new Worker(i * 7919L + 1));
			start("worker-" + i, workers.get(i));
		}
		for (int i = 0; i < MAKERS; i++)
			start("maker-" + i, Threads::make);
		ring();
		ScheduledExecutorService timer = Executors.newScheduledThreadPool(2);
		timer.scheduleAtFixedRate(ticks::incrementAndGet, 0, 250, TimeUnit.MILLISECONDS);
		timer.scheduleWithFixedDelay(System::gc, 5, 10, TimeUnit.SECONDS);
		ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
		server.bind(UnixDomainSocketAddress.of(arguments[0]));
		for (;;) {
			try (SocketChannel client = server.accept()) {
				ByteBuffer asked = ByteBuffer.allocate(64);
				client.read(asked);
				String word = new String(asked.array(), 0, asked.position(), StandardCharsets.US_ASCII);
				client.write(ByteBuffer.wrap(answer(word.strip()).getBytes(StandardCharsets.US_ASCII)));
			} catch (IOException exc) {
				// Who asked is gone.
			}
		}
	}
}
