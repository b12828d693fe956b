// Drives the host port of hc_top: one command a line on stdin, one answer a line on stdout.
//
//   read ADDR | write ADDR DATA | run [ADDR DATA]   -> DATA ERROR CYCLES (decimal), where CYCLES
//                                                      counts from acceptance to response valid
//   runfor N [ADDR DATA]   a run request, N cycles from its acceptance, the response left waiting
//                                                                                         -> ok
//   wait         the response that runfor left                                -> DATA ERROR CYCLES
//   reset N      rst_n low for N cycles (1 at least), whatever is under way               -> ok
//   cycles       clock cycles since the process began (or since the saved one did)    -> CYCLES
//   stall P SEED P % of the cycles without rsp_ready, and as many before req_valid        -> ok
//   save FILE | restore FILE (built savable), trace FILE | untrace (built with trace)     -> ok
//   quit
//
// A command that cannot be done answers `error WHY`. A failing assertion, $fatal, $finish or a
// broken handshake ends the process with code 1 and the reason on stderr.
// Options: --progress N answers `p CYCLES` every N cycles of a request under way; --limit N gives
// up on a request after N cycles; both are looked at every 1024 cycles. Plusargs go to the design.

#include "driver.hpp"

namespace {

const char* misplaced(const Driver& driver, const std::string& name) {
    if (name == "wait") return driver.pending() ? nullptr : "error no response is waiting";
    if (name != "read" && name != "write" && name != "run" && name != "runfor") return nullptr;
    if (!driver.was_reset()) return "error not reset yet";
    return driver.pending() ? "error a response is waiting" : nullptr;
}

std::string response(Driver& driver) {
    const Response r = driver.take();
    return std::to_string(r.data) + " " + std::to_string(r.error) + " " + std::to_string(r.cycles);
}

// Does one command line; returns its answer, empty at the end.
std::string obey(Driver& driver, char* line) {
    line[std::strcspn(line, "\n")] = '\0';
    const std::string name(line, std::strcspn(line, " "));
    const char* rest = line + name.size();
    if (*rest) ++rest;
    char* end = nullptr;
    const uint64_t a = std::strtoull(rest, &end, 0);
    const uint64_t b = std::strtoull(end, &end, 0);
    const uint64_t c = std::strtoull(end, nullptr, 0);

    if (name == "quit") return "";
    if (const char* why = misplaced(driver, name)) return why;
    if (name == "read" || name == "write" || name == "run") {
        driver.request(name == "read" ? kRead : name == "write" ? kWrite : kRun, a, b);
        return response(driver);
    }
    if (name == "wait") return response(driver);
    if (name == "cycles") return std::to_string(driver.cycles());
    if (name == "save") return driver.save(rest);
    if (name == "restore") return driver.restore(rest);
    if (name == "trace") return driver.trace(rest);
    if (name == "untrace") return driver.untrace();
    if (name == "runfor") {
        driver.request(kRun, b, c);
        driver.clock_pending(a);
    } else if (name == "reset") {
        driver.reset(a ? a : 1);
    } else if (name == "stall") {
        if (a >= 100) return "error stall PERCENT must be below 100";
        driver.stall(a, b);
    } else {
        return "error no such command: " + name;
    }
    return "ok";
}

}  // namespace

int main(int argc, char** argv) {
    // Answers get a descriptor of their own; what the design prints goes to stderr.
    FILE* answers = fdopen(dup(STDOUT_FILENO), "w");
    if (!answers || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) return 1;
    std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);

    uint64_t progress = 0;
    uint64_t limit = kNever;
    for (int i = 1; i < argc; ++i) {
        const std::string option = argv[i];
        if (option[0] == '+') continue;
        if (i + 1 == argc || (option != "--progress" && option != "--limit"))
            die("no such option: " + option);
        (option == "--progress" ? progress : limit) = std::strtoull(argv[++i], nullptr, 0);
    }

    VerilatedContext context;
    context.commandArgs(argc, argv);
#ifdef HC_THREADS
    context.threads(HC_THREADS);
#endif
#ifdef HC_TRACE
    context.traceEverOn(true);
#endif
    Driver driver{context, answers, progress, limit};
    char* line = nullptr;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        const std::string text = obey(driver, line);
        if (text.empty()) break;
        driver.answer(text);
    }
    std::free(line);
    return 0;
}
