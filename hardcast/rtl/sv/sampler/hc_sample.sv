// The sampler of one user: golden's `sample`, bit for bit, and the largest logits for the host.
//
// Logits stream in, TR a cycle in token order with any gaps; they are kept in a RAM, and the
// largest is found on the way. `start` then chooses the token by the settings:
//   inverse_temperature = 0          greedy: the largest logit
//   neither top_k nor top_p set      the largest score + Gumbel noise: a second pass over the RAM
//   top_k, or top_p below 65536      a draw among the top_k (256 where only top_p is set) largest
// In the first two modes report_k > 0 asks for that many largest logits on top. Ties go to the
// smaller id everywhere.
//
// Contract: settings stand still from the cycle of in_first to done (the stream needs to know
// whether a selection follows); start at least one cycle after in_last; the next in_first not before done.
// done is a pulse, and token is there from then to the next done. rd_* answer two cycles after
// rd_index, from done to the next in_first: entry rd_index < rd_count of the largest logits, in
// descending order; rd_count is min(K, VOCAB), 0 where no selection was asked for.
//
// Time from start to done: hardcast/chip/sampler_cycles.py, a function of the mode, K and the
// parameters, never of the data. One token at a time.
// Every register-to-register path is at most one multiplication of 16x20 or 17x20 bits, or one
// addition or comparison of 32 bits, of scores 46 to 48 (LOGIT_POINT 10).
module hc_sample #(
  parameter int TR = 4,           // logits a cycle: power of two, 1..256
  parameter int VOCAB = 1000,
  parameter int LOGIT_POINT = 10, // 0..20
  parameter int SL = 4            // tokens a cycle of the noise pass: power of two; TR where larger
) (
  input  logic                clk,
  input  logic                rst_n,
  // logits
  input  logic                in_valid,
  input  logic                in_first,
  input  logic                in_last,
  input  logic [31:0]         in_index,  // token id of lane 0
  input  logic [TR-1:0][31:0] in_word,
  // settings, as in hardcast/numerics/sampling.py
  input  logic [31:0]         inverse_temperature,
  input  logic [8:0]          top_k,
  input  logic [16:0]         top_p,
  input  logic [63:0]         seed,
  input  logic [63:0]         position,
  input  logic [8:0]          report_k,
  input  logic                start,
  output logic                done,
  output logic [31:0]         token,
  // the largest logits
  input  logic [7:0]          rd_index,
  output logic [31:0]         rd_logit,
  output logic [31:0]         rd_token,
  output logic [8:0]          rd_count
);
  localparam int Depth = 256;
  localparam int Lanes = (SL < TR) ? SL : TR;
  localparam int Words = (VOCAB + TR - 1) / TR;
  localparam int LastLanes = VOCAB - (Words - 1) * TR;  // that hold a token in the last word
  localparam int WordWidth = (Words > 1) ? $clog2(Words) : 1;
  localparam int IdWidth = (VOCAB > 1) ? $clog2(VOCAB) : 1;
  localparam int Levels = $clog2(TR);

  // ------------------------------------------------------------------------------------ settings
  wire         greedy  = inverse_temperature == '0;
  wire         limited = top_k != '0 || top_p < 17'd65536;
  wire         noisy   = !greedy && !limited;
  wire  [8:0]  want    = (greedy || !limited) ? report_k : (top_k != '0) ? top_k : 9'(Depth);
  wire         select  = want != '0;
  wire  [19:0] factor  = inverse_temperature[19:0];

  // ---------------------------------------------------------------------- the stream, to the RAM
  logic                 valid_q, first_q, last_q;
  logic [WordWidth-1:0] base_q;
  logic [TR-1:0][31:0]  word_q;
  logic [TR-1:0]        real_lane;
  always_ff @(posedge clk) begin
    valid_q <= in_valid && rst_n;
    if (in_valid) begin
      {first_q, last_q} <= {in_first, in_last};
      base_q            <= WordWidth'(in_index >> Levels);
      word_q            <= in_word;
    end
  end
  for (genvar i = 0; i < TR; i++) begin : gen_real
    assign real_lane[i] = i < LastLanes || base_q != WordWidth'(Words - 1);
  end

  logic                 noise_read, noise_next, select_read, select_next;
  logic [WordWidth-1:0] noise_base, select_base;
  logic [TR-1:0][31:0]  read_word, ram_word;
  hc_ram #(.W(32 * TR), .D(Words)) u_logits (
    .clk,
    .we   (valid_q),
    .waddr(base_q),
    .wdata(word_q),
    .re   (noise_read || select_read),
    .raddr(noise_read ? noise_base : select_base),
    .rdata(read_word)
  );
  always_ff @(posedge clk) if (noise_next || select_next) ram_word <= read_word;

  // ------------------------------------------------------------------------ largest of the stream
  logic                 max_valid, max_first;
  logic [WordWidth-1:0] max_base;
  logic [31:0]          max_value, greedy_token;
  logic                 greedy_done;
  hc_argmax #(.Lanes(TR), .Width(32), .BaseWidth(WordWidth)) u_argmax (
    .clk, .rst_n, .in_valid(valid_q), .in_first(first_q), .in_last(last_q), .in_base(base_q),
    .in_real(real_lane), .in_value(word_q), .word_valid(max_valid), .word_first(max_first),
    .word_base(max_base), .word_value(max_value), .best_done(greedy_done), .best_id(greedy_token)
  );

  // ------------------------------------------------------------------------------------- sequence
  typedef enum logic [2:0] {Idle, Settle, Noise, Select, Draw} state_e;
  state_e       state_q;
  logic [3:0]   settle_q;  // cycles until the last word has passed the tree and entered the sorter
  logic         noise_start, noise_done, select_start, select_done, draw_done;
  logic [31:0]  noise_token;
  logic [8:0]   count;  // of the largest logits
  logic [IdWidth-1:0] draw_token;
  wire          settled = state_q == Settle && settle_q == '0;
  assign noise_start  = settled && noisy;
  assign select_start = select && ((settled && !noisy) || (state_q == Noise && noise_done));

  always_ff @(posedge clk) begin
    done <= 1'b0;
    if (!rst_n) begin
      state_q  <= Idle;
      rd_count <= '0;
    end else
      unique case (state_q)
        Idle: if (start) begin
          state_q  <= Settle;
          settle_q <= 4'(Levels);
          rd_count <= '0;
        end
        Settle: begin
          settle_q <= settle_q - 4'd1;
          if (settled) begin
            token   <= greedy_token;
            state_q <= noisy ? Noise : select ? Select : Idle;
            done    <= !noisy && !select;
          end
        end
        Noise: if (noise_done) begin
          token   <= noise_token;
          state_q <= select ? Select : Idle;
          done    <= !select;
        end
        Select: if (select_done) state_q <= Draw;
        Draw: if (draw_done) begin
          if (!greedy && !noisy) token <= 32'(draw_token);
          rd_count <= count;
          state_q  <= Idle;
          done     <= 1'b1;
        end
        default: state_q <= Idle;
      endcase
  end

  logic        draw_ready;
  logic [31:0] draw_word;
  hc_noise #(
    .WordLanes(TR), .Lanes(Lanes), .Vocab(VOCAB), .LogitPoint(LOGIT_POINT), .WordWidth(WordWidth)
  ) u_noise (
    .clk, .rst_n, .start(noise_start), .draw(settled && !greedy && limited),
    .inverse_temperature(factor), .seed, .position, .ram_read(noise_read), .ram_base(noise_base),
    .ram_next(noise_next), .ram_word, .done(noise_done), .token(noise_token), .draw_ready,
    .draw_word
  );

  logic               draw_read;
  logic [7:0]         draw_index;
  logic [31:0]        sorted_logit;
  logic [IdWidth-1:0] sorted_id;
  hc_select #(
    .Lanes(TR), .Vocab(VOCAB), .Depth(Depth), .WordWidth(WordWidth), .IdWidth(IdWidth)
  ) u_select (
    .clk, .rst_n, .word_valid(max_valid && select), .word_first(max_first), .word_base(max_base),
    .word_value(max_value), .start(select_start), .want, .done(select_done), .count,
    .ram_read(select_read), .ram_base(select_base), .ram_next(select_next), .ram_word,
    .read(draw_read || rd_count != '0), .read_index((state_q == Draw) ? draw_index : rd_index),
    .read_logit(sorted_logit), .read_id(sorted_id)
  );
  assign rd_logit = sorted_logit;
  assign rd_token = 32'(sorted_id);

  // Reports run through the draw too: one duration, and the list is complete at its end.
  hc_draw #(.LogitPoint(LOGIT_POINT), .Depth(Depth), .IdWidth(IdWidth)) u_draw (
    .clk, .rst_n, .start(select_done), .count, .inverse_temperature(factor), .top_p,
    .word(draw_word), .read(draw_read), .read_index(draw_index), .read_logit(sorted_logit),
    .read_id(sorted_id), .done(draw_done), .token(draw_token)
  );

  logic unused;
  assign unused = &{1'b0, greedy_done, draw_ready, inverse_temperature[31:20]};

`ifndef SYNTHESIS
  initial begin
    assert (TR == 1 << Levels && TR <= 256 && SL > 0 && (SL & (SL - 1)) == 0);
    assert (VOCAB > 0 && LOGIT_POINT >= 0 && LOGIT_POINT <= 20);
  end
  // The stream: whole words in order, from the first token to the last, while nothing is chosen.
  logic [31:0] expected_q;
  logic        open_q, full_q;  // a stream has begun; it has ended
  always_ff @(posedge clk) begin
    if (!rst_n) begin
      {open_q, full_q} <= '0;
    end else begin
      if (in_valid) {open_q, full_q} <= {!in_last, in_last};
      if (start) full_q <= 1'b0;
    end
    if (in_valid) expected_q <= in_index + 32'(TR);
  end
  assert property (@(posedge clk) disable iff (!rst_n)
                   in_valid |-> in_index == (in_first ? 32'd0 : expected_q) && in_first != open_q);
  assert property (@(posedge clk) disable iff (!rst_n)
                   in_valid |-> in_last == (in_index >> Levels == 32'(Words - 1)));
  assert property (@(posedge clk) disable iff (!rst_n) in_valid |-> state_q == Idle);
  assert property (@(posedge clk) disable iff (!rst_n) start |-> state_q == Idle && full_q);
  // Settings: in range, and still.
  assert property (@(posedge clk) disable iff (!rst_n) start |->
                   inverse_temperature[31:20] == '0 && top_k <= 9'd256 && report_k <= 9'd256
                   && top_p >= 17'd1 && top_p <= 17'd65536);
  assert property (@(posedge clk) disable iff (!rst_n) open_q || full_q || state_q != Idle |->
                   $stable({inverse_temperature, top_k, top_p, seed, position, report_k}));
  assert property (@(posedge clk) disable iff (!rst_n)
                   draw_ready |-> state_q == Select);
`endif
endmodule
