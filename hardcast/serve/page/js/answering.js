// One answer, from the request to the last token, with the times that were measured.
import { answer } from "./common/server.js";

// turn: filled as the answer grows. grown(): called for each part of it.
// tokens: as the server counts them, else parts that came. first: seconds until the first part.
// seconds: from the first part to the end. ends: letters of the text after each part.
export async function fill(turn, request, signal, grown) {
  const begun = performance.now();
  let first = 0;
  Object.assign(turn, { content: "", ends: [], tokens: 0, seconds: 0, seed: request.seed });
  const measure = () => { if (first) turn.seconds = (performance.now() - first) / 1000; };
  for await (const event of answer(request, signal)) {
    const choice = event.choices?.[0];
    const part = choice?.delta?.content;
    if (part) {
      if (!first) {
        first = performance.now();
        turn.first = (first - begun) / 1000;
      }
      turn.content += part;
      turn.ends.push(turn.content.length);
      turn.tokens = turn.ends.length;
      measure();
      grown();
    }
    if (choice?.finish_reason) {
      measure();
      turn.reason = choice.finish_reason;
    }
    if (event.usage) {
      turn.tokens = event.usage.completion_tokens;
      turn.prompt = event.usage.prompt_tokens;
      turn.counted = true;
    }
  }
}

// Tokens a second after the first; null where there are too few to tell.
export function rate(turn) {
  return turn.tokens > 2 && turn.seconds > 0 ? (turn.tokens - 1) / turn.seconds : null;
}
