// The message field: Enter sends, Shift+Enter begins a line, and it grows with its text.
// ready(): whether a message can be sent now; if not, it stays in the field.
export function composer(form, field, ready, send) {
  const grow = () => {
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + 2}px`;
  };
  field.addEventListener("input", grow);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (!text || !ready()) return;
    field.value = "";
    grow();
    send(text);
  });
  grow();
}
