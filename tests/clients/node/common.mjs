// The conversation that every JavaScript client has with the server, and what it must tell of it in the end:
// the same as ../drivers/common.py. A driver is given one JSON object and prints one.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const RATE_HZ = 24_000;
const FRAME_MS = 20;
const FRAME_BYTES = (RATE_HZ * FRAME_MS * 2) / 1000;
const PATIENCE_MS = 20_000;
// A whole conversation takes about twenty seconds.
const WHOLE_MS = 75_000;
// So much of an answer is heard before it is spoken over.
const LISTEN_MS = 700;

export const LAMP = 'lamp';
export const LAMP_ANSWER = 'the lamp is lit';
const ASK_FOR_LAMP = `please call ${LAMP}`;

/** What the client told of the session, in its own callbacks. */
export class Ear {
  heard = [];
  answers = new Map();
  calls = [];
  errors = [];

  /** The answer of this name, which begins with its first mention. */
  answer(key) {
    if (!this.answers.has(key)) {
      this.answers.set(key, { text: '', sound: [], done: false, interrupted: false });
    }
    return this.answers.get(key);
  }

  /** The latest answer, or one of which nothing came. */
  get last() {
    return [...this.answers.values()].at(-1) ?? { text: '', sound: [], done: false };
  }

  fail(what) {
    this.errors.push(what instanceof Error ? `${what.name}: ${what.message}` : JSON.stringify(what));
  }

  /** The function that the model may call. */
  call(given) {
    this.calls.push(given);
    return LAMP_ANSWER;
  }

  async until(condition, what) {
    const end = performance.now() + PATIENCE_MS;
    while (!condition()) {
      if (this.errors.length || performance.now() > end) {
        throw new Error(`did not happen: ${what}`);
      }
      await sleep(10);
    }
  }

  findings(folder) {
    const answers = [...this.answers.values()].map((answer, number) => {
      writeFileSync(join(folder, `${number}.pcm`), Buffer.concat(answer.sound));
      return { text: answer.text, done: answer.done, interrupted: answer.interrupted };
    });
    return { heard: this.heard, answers, calls: this.calls, errors: this.errors };
  }
}

/** A microphone that is never off: 20 ms of sound every 20 ms, silence when nobody speaks. */
export class Microphone {
  #ahead = [];
  #on = true;

  say(pcm) {
    for (let at = 0; at + FRAME_BYTES <= pcm.length; at += FRAME_BYTES) {
      this.#ahead.push(pcm.subarray(at, at + FRAME_BYTES));
    }
  }

  async stream(send) {
    for (let due = performance.now(); this.#on; due += FRAME_MS) {
      send(this.#ahead.shift() ?? Buffer.alloc(FRAME_BYTES));
      await sleep(Math.max(0, due + FRAME_MS - performance.now()));
    }
  }

  stop() {
    this.#on = false;
  }
}

const soundMs = (answer) => Buffer.concat(answer.sound).length / 2 / (RATE_HZ / 1000);

/**
 * Three spoken turns, the second answer spoken over, then a function and its result.
 * `write` sends a typed message and asks for its answer, in the client's own way.
 */
export async function converse(task, microphone, ear, write) {
  const [first, second, third] = task.utterances.map((name) => readFileSync(name));
  const answered = (count) => ear.answers.size === count && ear.last.done;
  microphone.say(first);
  await ear.until(() => answered(1), 'the first answer');
  microphone.say(second);
  await ear.until(
    () => ear.answers.size === 2 && soundMs(ear.last) >= LISTEN_MS,
    'sound of the second answer',
  );
  const spokenOver = ear.last;
  microphone.say(third);
  await ear.until(() => spokenOver.interrupted, 'the interruption');
  await ear.until(() => answered(3), 'the third answer');
  write(ASK_FOR_LAMP);
  await ear.until(() => answered(4), "the answer with the function's result");
}

/** Run a driver and print what it found, also when it broke or hangs. */
export async function tell(session) {
  const task = JSON.parse(process.argv[2]);
  const ear = new Ear();
  const end = () => {
    process.stdout.write(`${JSON.stringify(ear.findings(task.folder))}\n`, () => process.exit(0));
  };
  setTimeout(() => {
    ear.fail('the driver hangs');
    end();
  }, WHOLE_MS).unref();
  process.on('unhandledRejection', (reason) => ear.fail(reason));
  try {
    await session(task, ear);
  } catch (error) {
    ear.fail(error);
  }
  end();
}
