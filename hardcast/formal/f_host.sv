// hc_host, for all time after a reset: every accepted request gets exactly one response, which stands
// unchanged until it is taken; only a run that is not refused starts the sequencer, once; a refused
// request changes no register; what is written is what the chip gets and what a read finds.
// By induction; nothing is assumed but a reset in the first cycle (others may come at any time).
module f_host
  import hardcast_pkg::*;
#(
  parameter int PART = 0  // 0: one response a request; 1: what requests do; 2: given that, what reads find
) (
  input logic                     clk,
  input logic                     rst_n,
  input logic                     req_valid,
  input logic [1:0]               req_op,
  input logic [15:0]              req_addr,
  input logic [31:0]              req_data,
  input logic                     rsp_ready,
  input logic                     finished,
  input logic [2:0]               kind,
  input logic [U-1:0][31:0]       token_out,
  input logic [U-1:0][31:0]       read_logit,
  input logic [U-1:0][31:0]       read_token,
  input logic [U-1:0][8:0]        read_count
);
  logic req_ready, rsp_valid, start, want_logits;
  logic [31:0] rsp_data;
  logic [7:0]  rsp_error;
  logic [U-1:0][TOKEN_W-1:0] token;
  logic [U-1:0][POS_W-1:0]   position;
  logic [U-1:0]              active;
  logic [U-1:0][31:0]        inverse_temperature;
  logic [U-1:0][8:0]         top_k, report_k;
  logic [U-1:0][16:0]        top_p;
  logic [U-1:0][63:0]        seed;
  logic [U-1:0][7:0]         read_index;
  hc_host host (.*);

  logic old = 1'b0;  // not the first cycle
  always_ff @(posedge clk) old <= 1'b1;
  always_comb if (!old) assume (!rst_n);

  wire take = req_valid && req_ready && rst_n;
  wire give = rsp_valid && rsp_ready && rst_n;

  // ---- one response a request ----
  logic       open;     // a request's response has not been taken
  logic [2:0] waited;   // cycles since, without a run
  logic       held;
  logic [39:0] held_response;
  always_ff @(posedge clk) begin
    if (!rst_n) open <= 1'b0;
    else if (take) open <= 1'b1;
    else if (give) open <= 1'b0;
    waited <= take || !rst_n || host.busy || rsp_valid ? '0 : waited + 3'd1;
    held <= rst_n && rsp_valid && !rsp_ready;
    held_response <= {rsp_error, rsp_data};
  end
  wire [1:0] stages = 2'(host.busy) + 2'(host.reading != 0) + 2'(rsp_valid);
  always_comb if (old) begin
    // one thing at a time; and never deaf while nothing is under way
    if (PART == 2) assume (stages == 2'(open) && req_ready == !open);
    if (PART == 0) begin
      assert (stages == 2'(open) && req_ready == !open);
      if (held) assert (rsp_valid && {rsp_error, rsp_data} == held_response);
      // a read or write answers within five cycles, a run when the sequencer has finished
      assert (host.reading <= 4);
      if (open && !host.busy && !rsp_valid) assert (waited + host.reading == 3'd4);
    end
  end

  // ---- what a request does: a model of the registers ----
  logic [U-1:0][10:0][31:0] model;  // 0 token .. 8 report-k, 10 read index (9 stays 0)
  logic [7:0] refusal;
  wire [15:0] own  = req_addr - 16'h100;
  wire        mine = req_addr >= 16'h100 && 32'(own) < 32 * U;
  wire        writable = mine && own[4:0] <= 10 && own[4:0] != 9;
  always_comb begin
    refusal = 8'd3;
    for (int u = 0; u < U; u++) if (model[u][2][0]) refusal = 8'd0;
    for (int u = 0; u < U; u++)
      if (model[u][2][0]) begin
        if (model[u][0] >= VOCAB) refusal = 8'd1;
        else if (model[u][1] >= CTX) refusal = 8'd2;
        else if (model[u][3] >= 1 << 20 || model[u][4] > 256 || model[u][8] > 256
                 || model[u][5] > 65536 || model[u][5] == 0)
          refusal = 8'd4;
      end
  end
  wire running = take && req_op == 2 && refusal == 0;
  logic running_1, ended_1, answered_1, wants;
  logic [7:0] error_1;
  always_ff @(posedge clk) begin
    running_1 <= running;
    ended_1 <= rst_n && host.busy && finished;
    answered_1 <= take && !running && req_op != 0;
    error_1 <= req_op == 1 ? (writable ? 8'd0 : 8'd5) : req_op == 2 ? refusal : 8'd6;
    if (running) wants <= req_data[0];
    if (!rst_n)
      for (int u = 0; u < U; u++)
        for (int i = 0; i < 11; i++) model[u][i] <= i == 5 ? 65536 : i == 2 ? 32'(u == 0) : '0;
    else if (take && req_op == 1 && writable)
      for (int u = 0; u < U; u++)
        for (int i = 0; i < 11; i++)
          if (32'(own) == 32 * u + i)
            model[u][i] <= i == 2 ? req_data & 1 : i == 10 ? req_data & 255 : req_data;
    if (rst_n && host.busy && finished)
      for (int u = 0; u < U; u++) if (model[u][2][0]) model[u][1] <= model[u][1] + 1;
  end
  always_comb if (old && PART == 1) begin
    assert (start == running_1);
    if (running_1) assert (host.busy && want_logits == wants);
    if (host.busy) assert (want_logits == wants);
    if (ended_1) assert (rsp_valid && rsp_error == 0);
    if (answered_1) assert (rsp_valid && rsp_error == error_1);
  end
  logic [U-1:0] same;
  always_comb
    for (int u = 0; u < U; u++)
      same[u] = host.token_r[u] == model[u][0] && token[u] == TOKEN_W'(model[u][0])
                && host.position_r[u] == model[u][1] && position[u] == POS_W'(model[u][1])
                && active[u] == model[u][2][0] && model[u][2] <= 1
                && inverse_temperature[u] == model[u][3]
                && host.top_k_r[u] == model[u][4] && top_k[u] == 9'(model[u][4])
                && host.top_p_r[u] == model[u][5] && top_p[u] == 17'(model[u][5])
                && seed[u] == {model[u][7], model[u][6]}
                && host.report_r[u] == model[u][8] && report_k[u] == 9'(model[u][8])
                && 32'(read_index[u]) == model[u][10] && model[u][9] == 0;
  always_comb
    if (old && PART == 1) assert (same == '1);
    else if (old && PART == 2) assume (same == '1);

  // ---- what a read finds ----
  logic [15:0] asked, asked_own;
  logic        answering;
  logic [31:0] found_1;
  logic        known_1, compare_1;
  always_ff @(posedge clk) begin
    if (take) asked <= req_addr;
    answering <= rst_n && host.reading == 1;
    known_1 <= 1'b0;
    compare_1 <= 1'b1;
    found_1 <= '0;
    asked_own = asked - 16'h100;
    for (int u = 0; u < U; u++)
      if (asked >= 16'h100 && 32'(asked_own) >= 32 * u && 32'(asked_own) < 32 * u + 14) begin
        known_1 <= 1'b1;
        case (asked_own[4:0])
          9: found_1 <= token_out[u];
          11: found_1 <= read_logit[u];
          12: found_1 <= read_token[u];
          13: found_1 <= 32'(read_count[u]);
          default: found_1 <= model[u][asked_own[3:0]];
        endcase
      end
    if (asked < 16'h100) begin
      known_1 <= asked <= 11 || asked == 16'h10 || (asked >= 16'h20 && asked < 16'h20 + KINDS);
      compare_1 <= asked >= 8 && asked <= 11;
      found_1 <= asked == 8 ? U : asked == 9 ? CTX : asked == 10 ? VOCAB : TR;
    end
  end
  always_comb if (old && PART == 2) begin
    if (host.reading != 0) assert (host.read_addr == asked);
    if (answering) begin
      assert (rsp_valid && rsp_error == (known_1 ? 8'd0 : 8'd5));
      if (known_1 && compare_1) assert (rsp_data == found_1);
      if (!known_1) assert (rsp_data == 0);
    end
  end
endmodule
