// The conversation on the page: views of its turns, added and removed as the list is.
import { turnView } from "./turn.js";

export class Log {
  // list: <ol>. scroll: what scrolls. empty: shown without turns. on(index): a turn's actions.
  constructor(list, scroll, empty, on) {
    Object.assign(this, { list, scroll, empty, on, views: [], turns: [] });
    this.stuck = true;
    scroll.addEventListener("scroll", () => {
      this.stuck = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;
    }, { passive: true });
    // Markdown that arrives late, and windows that change, must not push the end out of sight.
    new ResizeObserver(() => this.follow()).observe(list);
  }

  // Makes the page show these turns.
  show(turns) {
    const same = this.turns.findIndex((turn, index) => turn !== turns[index]);
    const keep = same < 0 ? this.turns.length : same;
    this.views.splice(keep).forEach((view) => view.element.remove());
    for (let index = keep; index < turns.length; index++) {
      const count = turns.slice(0, index + 1).filter((turn) => turn.role === turns[index].role).length;
      const view = turnView(turns[index], index, count, this.on(index));
      this.views.push(view);
      this.list.append(view.element);
    }
    this.turns = [...turns];
    this.empty.hidden = turns.length > 0;
    this.list.hidden = turns.length === 0;
  }

  get last() {
    return this.views.at(-1);
  }

  // Keeps the end in sight, unless the reader has scrolled away from it.
  follow(anyway = false) {
    if (anyway) this.stuck = true;
    if (this.stuck) this.scroll.scrollTop = this.scroll.scrollHeight;
  }
}
