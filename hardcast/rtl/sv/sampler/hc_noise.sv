// The token of the largest score + Gumbel noise over the whole vocabulary: a pass over the logit
// RAM at Lanes tokens a cycle. Every four tokens have a Philox counter, so there are Lanes / 4 Philox
// units (one, used every fourth or second cycle, for 1 or 2 lanes).
// `draw` asks for the random word of a draw among candidates instead: word 0 of counter 0.
//
// Time: ceil(Vocab / Lanes) + 43 + log2(Lanes) cycles from start to done; 31 from draw to
// draw_ready. Settings stand still until then.
module hc_noise #(
  parameter int WordLanes = 4,  // of the logit RAM
  parameter int Lanes = 4,      // power of two up to WordLanes
  parameter int Vocab = 1000,
  parameter int LogitPoint = 10,
  parameter int WordWidth = 8
) (
  input  logic                       clk,
  input  logic                       rst_n,
  input  logic                       start,
  input  logic                       draw,
  input  logic [19:0]                inverse_temperature,
  input  logic [63:0]                seed,
  input  logic [63:0]                position,
  output logic                       ram_read,  // ram_word follows two cycles later, ram_next
  output logic [WordWidth-1:0]       ram_base,  // moving the second register
  output logic                       ram_next,
  input  logic [WordLanes-1:0][31:0] ram_word,
  output logic                       done,
  output logic [31:0]                token,
  output logic                       draw_ready,
  output logic [31:0]                draw_word
);
  localparam int Units = (Lanes > 4) ? Lanes / 4 : 1;
  localparam int Shares = WordLanes / Lanes;  // groups of Lanes tokens in a RAM word
  localparam int Groups = (Vocab + Lanes - 1) / Lanes;
  localparam int LastLanes = Vocab - (Groups - 1) * Lanes;
  localparam int ShareBits = $clog2(Shares);
  localparam int GroupWidth = WordWidth + ShareBits;
  localparam int ScoreWidth = 52 - (LogitPoint - 4);
  localparam int SumWidth = ScoreWidth + 1;
  // The cycle of a group, counted from its Philox counter, in which ...
  localparam int WordsAt = 30;           // its random words are there
  localparam int SumAt   = WordsAt + 11; // its noise is there, and its score
  localparam int LaneAt  = SumAt - 3;    // its logits start to become scores
  localparam int ReadAt  = LaneAt - 3;   // the RAM is read
  localparam int BestAt  = SumAt + 1;    // its sums are compared

  // ------------------------------------------------------------------------- groups on their way
  logic                  run_q;
  logic [BestAt:1]       flow_q;  // [k]: a group is k cycles old
  logic [GroupWidth-1:0] group_q, words_group_q, read_group_q, lane_group_q, best_group_q;
  localparam logic [GroupWidth-1:0] LastGroup = GroupWidth'(Groups - 1);
  always_ff @(posedge clk) begin
    if (!rst_n) begin
      run_q   <= 1'b0;
      flow_q  <= '0;
      group_q <= '0;
    end else begin
      if (start) run_q <= 1'b1;
      else if (run_q && group_q == LastGroup) run_q <= 1'b0;
      if (run_q) group_q <= (group_q == LastGroup) ? '0 : group_q + GroupWidth'(1);
      if (run_q || |flow_q) flow_q <= {flow_q[BestAt-1:1], run_q};
    end
    if (start) {words_group_q, read_group_q, lane_group_q, best_group_q} <= '0;
    else begin
      if (flow_q[WordsAt])    words_group_q <= words_group_q + GroupWidth'(1);
      if (flow_q[ReadAt])     read_group_q  <= read_group_q + GroupWidth'(1);
      if (flow_q[LaneAt - 1]) lane_group_q  <= lane_group_q + GroupWidth'(1);
      if (flow_q[BestAt])     best_group_q  <= best_group_q + GroupWidth'(1);
    end
  end

  // ------------------------------------- round keys: each round's a cycle after the one before it
  logic [9:0][1:0][31:0] keys_q;
  logic [9:0]            key_valid_q;
  always_ff @(posedge clk) begin
    key_valid_q <= rst_n ? {key_valid_q[8:0], start || draw} : '0;
    if (start || draw) keys_q[0] <= seed;
    for (int r = 1; r < 10; r++)
      if (key_valid_q[r-1])
        keys_q[r] <= {keys_q[r-1][1] + 32'hBB67AE85, keys_q[r-1][0] + 32'h9E3779B9};
  end

  // ------------------------------------------------------------------------- Philox and its words
  wire [31:0]                   first_id = 32'(group_q) << $clog2(Lanes);
  logic                         draw_q, asked_q;
  logic [Units-1:0]             philox_valid;
  logic [Units-1:0][3:0][31:0]  philox_words;
  for (genvar u = 0; u < Units; u++) begin : gen_philox
    hc_philox u_philox (
      .clk, .rst_n, .keys(keys_q), .position,
      // Fewer than four lanes: a counter's words serve several groups.
      .in_valid ((run_q && first_id[1:0] == 2'd0) || (u == 0 && draw_q)),
      .counter  ({2'b0, first_id[31:2]} + 32'(u)),
      .out_valid(philox_valid[u]),
      .words    (philox_words[u])
    );
  end
  assign draw_ready = asked_q && philox_valid[0];
  always_ff @(posedge clk) begin
    draw_q <= draw && rst_n;
    if (!rst_n || draw_ready) asked_q <= 1'b0;
    else if (draw) asked_q <= 1'b1;
    if (draw_ready) draw_word <= philox_words[0][0];
  end

  // -------------------------------------------------------------------------------------- RAM
  assign ram_base = WordWidth'(read_group_q >> ShareBits);
  assign ram_read = flow_q[ReadAt] && (read_group_q & GroupWidth'(Shares - 1)) == '0;
  always_ff @(posedge clk) ram_next <= ram_read && rst_n;

  // ------------------------------------------------------------------------------------ a lane
  logic [Lanes-1:0][31:0]                random;
  logic [Lanes-1:0][SumWidth-1:0]        sum_q;
  logic [Lanes-1:0]                      real_lane;
  for (genvar i = 0; i < Lanes; i++) begin : gen_lane
    if (Lanes >= 4) begin : gen_word
      assign random[i] = philox_words[i/4][i%4];
    end else begin : gen_shared_word
      assign random[i] = philox_words[0][2'(32'(words_group_q) * Lanes + i)];
    end

    logic [31:0]                  logit_q;
    logic signed [ScoreWidth-1:0] score;
    logic signed [22:0]           noise;
    always_ff @(posedge clk)
      if (flow_q[LaneAt-1])
        logit_q <= ram_word[(32'(lane_group_q) & (Shares - 1)) * Lanes + i];
    hc_score #(.LogitPoint(LogitPoint), .Width(ScoreWidth)) u_score (
      .clk, .rst_n, .inverse_temperature, .in_valid(flow_q[LaneAt]), .logit(logit_q), .score
    );
    hc_gumbel u_gumbel (
      .clk, .rst_n, .in_valid(flow_q[WordsAt]), .in_word(random[i]), .noise
    );
    always_ff @(posedge clk)
      if (flow_q[SumAt]) sum_q[i] <= SumWidth'(score) + SumWidth'(noise);
    assign real_lane[i] = i < LastLanes || best_group_q != LastGroup;
  end

  logic                  word_valid, word_first;
  logic [GroupWidth-1:0] word_base;
  logic [SumWidth-1:0]   word_value;
  hc_argmax #(.Lanes(Lanes), .Width(SumWidth), .BaseWidth(GroupWidth)) u_argmax (
    .clk, .rst_n, .in_valid(flow_q[BestAt]), .in_first(best_group_q == '0),
    .in_last(best_group_q == LastGroup), .in_base(best_group_q), .in_real(real_lane),
    .in_value(sum_q), .word_valid, .word_first, .word_base, .word_value, .best_done(done),
    .best_id(token)
  );

  // Maxima of single groups are of no use here.
  logic unused;
  assign unused = &{1'b0, word_valid, word_first, word_base, word_value, philox_valid};

`ifndef SYNTHESIS
  assert property (@(posedge clk) disable iff (!rst_n) start || draw |-> !run_q && flow_q == '0);
`endif
endmodule
