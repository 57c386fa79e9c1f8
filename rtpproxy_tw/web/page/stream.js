// Server-sent events over fetch: EventSource can send no token.

const LONGEST = 30000;

/** Takes a stream of text apart into events (HTML standard, section 9.2.6). */
export class Parser {
  constructor() {
    this.rest = "";
    this.id = "";
    this.retry = 2000;
  }

  /**
   * @param {string} text the next characters, cut anywhere
   * @returns {{name: string, data: string}[]} the events that are complete by now
   */
  feed(text) {
    const blocks = (this.rest + text).split("\n\n");
    this.rest = blocks.pop() ?? "";
    return blocks.flatMap((block) => this.event(block));
  }

  /** @param {string} block */
  event(block) {
    let [name, data] = ["message", ""];
    for (const line of block.split("\n")) {
      const at = line.indexOf(":");
      const value = line.slice(at + 1).replace(/^ /, "");
      switch (line.slice(0, at)) {
        case "event": name = value; break;
        case "data": data += value; break;
        case "id": this.id = value; break;
        case "retry": this.retry = Number(value) || this.retry; break;
      }
    }
    return data ? [{ name, data }] : [];
  }
}

/**
 * How long to wait before the try after `failures` ones: twice as long each time, and not all
 * pages at once.
 * @param {number} retry milliseconds @param {number} failures @param {number} random 0 to 1
 */
export function backOff(retry, failures, random) {
  return Math.min(LONGEST, retry * 2 ** Math.min(failures, 10)) * (0.75 + random / 2);
}

/**
 * @typedef {object} Ears
 * @property {(id: string) => Promise<Response>} open asks for events after the one with that id
 * @property {(name: string, data: any) => void} hear
 * @property {(state: "live" | "lost" | "denied", wait: number, why: string) => void} state
 */

/** Listen for ever. @param {Ears} ears */
export async function listen(ears) {
  const parser = new Parser();
  for (let failures = 0; ; failures++) {
    let why = "the relay ended the connection";
    try {
      const answer = await ears.open(parser.id);
      if (answer.ok && answer.body) {
        await take(answer.body, parser, (name, data) => {
          failures = 0;
          ears.hear(name, data);
          ears.state("live", 0, "");
        });
      } else {
        const told = await answer.json().catch(() => null);
        why = told?.error?.sentence ?? `status ${answer.status}`;
        if (answer.status === 401) ears.state("denied", 0, why);
      }
    } catch (error) {
      why = "the relay cannot be reached";
    }
    parser.rest = "";
    const wait = backOff(parser.retry, failures, Math.random());
    ears.state("lost", wait, why);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

/**
 * @param {ReadableStream<Uint8Array>} body @param {Parser} parser
 * @param {(name: string, data: any) => void} hear
 */
async function take(body, parser, hear) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    for (const { name, data } of parser.feed(decoder.decode(value, { stream: true }))) {
      hear(name, JSON.parse(data));
    }
  }
}
