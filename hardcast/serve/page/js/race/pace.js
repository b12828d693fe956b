// Where an answer stands after so many of its tokens.

// ends: letters after each part that came. Parts are nearly tokens, but some tokens have no text of
// their own yet, so the parts are spread evenly over the tokens.
export function lettersAt(made, tokens, ends) {
  if (made <= 0 || !ends.length) return 0;
  const parts = Math.ceil((Math.min(made, tokens) / tokens) * ends.length);
  return ends[parts - 1];
}
