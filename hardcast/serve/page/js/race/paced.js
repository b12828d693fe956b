// Work that would be done too often: done now and then, and never so much that nothing else is.
const LEAST_MS = 40;
const SHARE = 4;  // after the work, so many times as long is left to everything else

// Returns a function that asks for the work: however often that is, it is done once in a while.
export function paced(work) {
  let timer = 0;
  let free = 0;  // when it may be done again
  return () => {
    if (timer) return;
    timer = setTimeout(() => {
      timer = 0;
      const begun = performance.now();
      work();
      const now = performance.now();
      free = now + Math.max(LEAST_MS, SHARE * (now - begun));
    }, Math.max(0, free - performance.now()));
  };
}
