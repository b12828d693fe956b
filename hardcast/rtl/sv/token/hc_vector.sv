// The spine of one user: residual and vector memories, the row outputs, norm, rope, gate, attention,
// and the two block quantisers. Control (`vec_*`, `rows_*`) is shared by all users and rides along.
//
// A vector step reads one word of TR values a cycle. NORM, QUANT, GATE and READ end in blocks of 64 for
// the slice buffers, ROPE and VALUE in one block a head for attention.
module hc_vector
  import hardcast_pkg::*;
(
  input  logic                       clk,
  input  logic                       rst_n,
  input  logic                       active,
  input  logic [POS_W-1:0]           position,

  // row sums, ARRAY_LATENCY after their step
  input  logic                       rows_valid,
  input  rows_t                      rows,
  input  logic [TR-1:0][ACC_W-1:0]   sums,
  input  logic [TR-1:0][ROWROM_W-1:0] row_word,
  input  logic [TR-1:0][31:0]        bias_word,
  output logic                       rows_done,

  // the embedding's row
  input  logic                       embed_valid,
  input  logic [XWORD_AW-1:0]        embed_word,
  input  logic [TR-1:0][31:0]        embed_x,

  // vector steps; gain and angles come a cycle later
  input  logic                       vec_valid,
  input  vec_t                       vec,
  input  logic [TR-1:0][GAIN_W-1:0]  gain_word,
  input  logic [TR-1:0][31:0]        angle_coarse,
  input  logic [TR-1:0][31:0]        angle_fine,
  input  logic [63:0]                epsilon,
  output logic                       blocks_done,
  output logic                       heads_done,
  output logic                       angle_done,
  output logic                       head_sum_done,
  output logic                       head_apply_done,

  // attention steps
  input  logic                       score,
  input  logic                       mix,
  input  logic                       chunk_first,
  input  logic                       chunk_last,
  input  logic [FOLD_AW-1:0]         fold,
  input  logic [CHUNK_AW-1:0]        chunk,
  input  logic [KV_AW-1:0]           kv_base,
  input  logic [POS_W-1:0]           window,
  output logic                       score_done,
  output logic                       mix_done,

  // finished blocks
  output logic [C-1:0]               block_we,
  output logic [C-1:0][SLICE_AW-1:0] block_addr,
  output logic [C-1:0][64*XW-1:0]    block_codes,
  output logic [C-1:0][4:0]          block_exp,

  // logits
  output logic                       logit_valid,
  output logic [WORD_AW-1:0]         logit_word,
  output logic                       logit_last,
  output logic [TR-1:0][31:0]        logits
);
  /*verilator no_inline_module*/

  // ---------------- matrix products: rows out ----------------
  rows_t rows_8, rows_10;
  logic  rows_valid_8, out_valid;
  logic [TR-1:0][31:0] y, x_word;
  hc_delay #(.W($bits(rows_t)), .N(8)) u_rows_8 (.clk, .rst_n, .d(rows), .q(rows_8));
  hc_delay #(.W($bits(rows_t)), .N(2)) u_rows_10 (.clk, .rst_n, .d(rows_8), .q(rows_10));
  hc_delay #(.W(1), .N(8), .RESET(1)) u_rows_v8 (
    .clk, .rst_n, .d(rows_valid && rows.unit_final), .q(rows_valid_8)
  );
  logic [4:0]        max_exp;
  logic [16:0]       r;
  logic signed [6:0] halfshift;
  hc_rows u_rows (
    .clk, .rst_n, .valid(rows_valid), .slot(rows.slot), .unit_first(rows.unit_first),
    .unit_final(rows.unit_final), .normed(rows.normed), .drop_base(rows.drop_base),
    .shift_base(rows.shift_base), .add(rows.add), .has_bias(rows.bias), .sums, .max_exp, .r,
    .halfshift, .row_word, .bias_word, .residual(x_word), .out_valid, .y
  );
  wire in_range = rows_10.word < rows_10.words;
  wire [WORD_AW-1:0] out_addr = rows_10.dst_base + rows_10.word;
  assign rows_done   = out_valid && rows_10.done;
  assign logit_valid = out_valid && in_range && rows_10.dst == DST_LOGITS;
  assign logit_word  = rows_10.word;
  assign logit_last  = rows_10.word + 1'b1 == rows_10.words;
  assign logits      = y;

  // ---------------- memories ----------------
//if behind
  wire vec_x = vec_valid && (vec.op == VEC_NORM || vec.op == VEC_QUANT || vec.op == VEC_BADD);
  wire vec_y = vec_valid && (vec.op == VEC_BSUM || vec.op == VEC_BADD);
  logic [TR*32-1:0] y_word;
  logic added_we;  // a norm behind writes the residual
  logic [WORD_AW-1:0] added_addr;
  logic [TR-1:0][31:0] added;
//else
  wire vec_x = vec_valid && (vec.op == VEC_NORM || vec.op == VEC_QUANT);
//endif
  wire [WORD_AW-1:0] vec_addr = vec.base + vec.word;
  logic [TR*32-1:0] qkv_word, g_word, u_word;
  logic head_we;  // HEAD_NORM writes q or k back
  logic [WORD_AW-1:0] head_waddr;
  logic [TR-1:0][31:0] head_wdata;
  hc_ram #(.W(TR * 32), .D(XWORDS)) u_x (
//if behind
    .clk, .we(embed_valid || added_we || (out_valid && in_range && rows_10.dst == DST_X)),
    .waddr(embed_valid ? embed_word : added_we ? XWORD_AW'(added_addr) : XWORD_AW'(out_addr)),
    .wdata(embed_valid ? embed_x : added_we ? added : y),
//else
    .clk, .we(embed_valid || (out_valid && in_range && rows_10.dst == DST_X)),
    .waddr(embed_valid ? embed_word : XWORD_AW'(out_addr)), .wdata(embed_valid ? embed_x : y),
//endif
    .re(vec_x || (rows_valid_8 && rows_8.add)),
    .raddr(vec_x ? XWORD_AW'(vec_addr) : XWORD_AW'(rows_8.word)), .rdata(x_word)
  );
//if behind
  hc_ram #(.W(TR * 32), .D(XWORDS)) u_y (
    .clk, .we(out_valid && in_range && rows_10.dst == DST_Y), .waddr(XWORD_AW'(out_addr)), .wdata(y),
    .re(vec_y), .raddr(XWORD_AW'(vec_addr)), .rdata(y_word)
  );
//endif
  hc_ram #(.W(TR * 32), .D(QKV_WORDS)) u_qkv (
    .clk, .we(head_we || (out_valid && in_range && rows_10.dst == DST_QKV)),
    .waddr(head_we ? QKV_AW'(head_waddr) : QKV_AW'(out_addr)), .wdata(head_we ? head_wdata : y),
    .re(vec_valid && (vec.op == VEC_ROPE || vec.op == VEC_VALUE || vec.op == VEC_HSUM || vec.op == VEC_HAPPLY)),
    .raddr(QKV_AW'(vec_addr)),
    .rdata(qkv_word)
  );
  hc_ram #(.W(TR * 32), .D(F_WORDS)) u_g (
    .clk, .we(out_valid && in_range && rows_10.dst == DST_G), .waddr(F_AW'(out_addr)), .wdata(y),
    .re(vec_valid && vec.op == VEC_GATE), .raddr(F_AW'(vec_addr)), .rdata(g_word)
  );
  hc_ram #(.W(TR * 32), .D(F_WORDS)) u_u (
    .clk, .we(out_valid && in_range && rows_10.dst == DST_U), .waddr(F_AW'(out_addr)), .wdata(y),
    .re(vec_valid && vec.op == VEC_GATE), .raddr(F_AW'(vec_addr)), .rdata(u_word)
  );

  // A vector step's control, beside its data: _1 with the words read, _5, _6, _7 and _11 further on.
  vec_t vec_1, vec_5, vec_6, vec_7, vec_11;
  logic valid_1, valid_5, valid_6, valid_7, valid_11;
  always_ff @(posedge clk) begin
    vec_1 <= vec;
    valid_1 <= vec_valid && rst_n;
  end
  hc_delay #(.W($bits(vec_t)), .N(4)) u_vec_5 (.clk, .rst_n, .d(vec_1), .q(vec_5));
  hc_delay #(.W($bits(vec_t)), .N(1)) u_vec_6 (.clk, .rst_n, .d(vec_5), .q(vec_6));
  hc_delay #(.W($bits(vec_t)), .N(1)) u_vec_7 (.clk, .rst_n, .d(vec_6), .q(vec_7));
  hc_delay #(.W($bits(vec_t)), .N(4)) u_vec_11 (.clk, .rst_n, .d(vec_7), .q(vec_11));
  hc_delay #(.W(1), .N(4), .RESET(1)) u_valid_5 (.clk, .rst_n, .d(valid_1), .q(valid_5));
  hc_delay #(.W(1), .N(1), .RESET(1)) u_valid_6 (.clk, .rst_n, .d(valid_5), .q(valid_6));
  hc_delay #(.W(1), .N(1), .RESET(1)) u_valid_7 (.clk, .rst_n, .d(valid_6), .q(valid_7));
  hc_delay #(.W(1), .N(4), .RESET(1)) u_valid_11 (.clk, .rst_n, .d(valid_7), .q(valid_11));

  // ---------------- NORM, QUANT: x * gain ----------------
  wire norm_1 = valid_1 && (vec_1.op == VEC_NORM || vec_1.op == VEC_QUANT);
  logic norm_2, norm_3, norm_4;
  logic [TR-1:0][37:0] scaled;
  always_ff @(posedge clk) {norm_4, norm_3, norm_2} <= rst_n ? {norm_3, norm_2, norm_1} : '0;
  for (genvar i = 0; i < TR; i++) begin : g_norm
    logic [31:0]               x_2;  // the memory's words stand still for a cycle
    logic signed [GAIN_W-1:0]  gain_2;
    logic signed [GAIN_W+8:0]  byte0_3, byte1_3, byte2_3, byte3_3;
    logic signed [GAIN_W+32:0] product_4;
    always_ff @(posedge clk) begin
      if (norm_1) begin
        x_2    <= x_word[i];
        gain_2 <= vec_1.op == VEC_QUANT ? GAIN_W'(1 << NORM_SHIFT) : gain_word[i];
      end
      if (norm_2) begin
        byte0_3 <= gain_2 * $signed({1'b0, x_2[7:0]});
        byte1_3 <= gain_2 * $signed({1'b0, x_2[15:8]});
        byte2_3 <= gain_2 * $signed({1'b0, x_2[23:16]});
        byte3_3 <= gain_2 * $signed(x_2[31:24]);
      end
      if (norm_3)
        product_4 <= (GAIN_W+33)'(byte0_3) + ((GAIN_W+33)'(byte1_3) <<< 8)
                     + ((GAIN_W+33)'(byte2_3) <<< 16) + ((GAIN_W+33)'(byte3_3) <<< 24);
      if (norm_4) begin
        automatic logic signed [GAIN_W+32:0] s =
            (product_4 + (GAIN_W+33)'(1 << (NORM_SHIFT - 1))) >>> NORM_SHIFT;
        scaled[i] <= s > (GAIN_W+33)'(64'sd137438953471) ? 38'h1fffffffff
                   : s < (GAIN_W+33)'(-64'sd137438953472) ? 38'h2000000000 : 38'(s);
      end
    end
  end

  // ---------------- GATE_MUL ----------------
  logic [TR-1:0][37:0] gated;
  hc_gate u_gate (
    .clk, .rst_n, .in_valid(valid_1 && vec_1.op == VEC_GATE), .g(g_word), .u(u_word), .f(gated)
  );

  // ---------------- attention ----------------
  logic q_valid, k_valid, v_valid;
  logic [GROUP_AW-1:0] group;
  logic [HPP-1:0][HD*8+3:0] heads;
  logic [TR-1:0][37:0] attended;
  hc_attend u_attend (
    .clk, .rst_n, .active, .position, .q_valid, .k_valid, .v_valid, .group, .heads, .kv_base, .score, .mix,
    .first(chunk_first), .last(chunk_last), .fold, .chunk, .window, .score_done, .mix_done,
    .read(vec_valid && vec.op == VEC_READ), .read_word(QWORD_AW'(vec.word)), .a(attended)
  );

  // ---------------- blocks of 64 for the slices ----------------
  wire take_5 = valid_5 && (vec_5.op == VEC_NORM || vec_5.op == VEC_QUANT);
  wire take_7 = valid_7 && vec_7.op == VEC_READ;
  wire take_11 = valid_11 && vec_11.op == VEC_GATE;
  vec_t block_vec;
  logic [TR-1:0][37:0] block_in;
  always_comb begin
    block_vec = take_5 ? vec_5 : take_7 ? vec_7 : vec_11;
    block_in  = take_5 ? scaled : take_7 ? attended : gated;
    if (block_vec.zero) block_in = '0;
  end
  logic b_valid, b_first, b_last, b_vfirst, b_vdone;
  logic [TR-1:0][15:0] b_codes;
  logic [NB64-1:0][4:0] b_exp;
  hc_quant #(.TR(TR), .SEG(SEG64), .WPB(WPB64), .W(38), .MAG(37), .CODE_W(16), .META(2)) u_blocks (
    .clk, .rst_n, .bits(vec.bits), .in_valid(take_5 || take_7 || take_11), .in_first(block_vec.block_first),
    .in_last(block_vec.block_last), .in_meta({block_vec.first, block_vec.done}), .in_word(block_in),
    .out_valid(b_valid), .out_first(b_first), .out_last(b_last), .out_meta({b_vfirst, b_vdone}),
    .out_codes(b_codes), .out_exp(b_exp)
  );

  // the first block of a vector: seen at its first word, remembered until its last
  logic vfirst_seen, b_vfirst_block;
  assign b_vfirst_block = b_first ? b_vfirst : vfirst_seen;
  always_ff @(posedge clk) if (b_valid && b_first) vfirst_seen <= b_vfirst;

  logic [NB64-1:0][64*XW-1:0] assembly;
  logic [NB64-1:0][4:0] written_exp;
  logic [CS_AW-1:0] col, col_w;      // where the next block goes; where the finished one goes
  logic [SLICE_AW-1:0] depth, depth_w;
  logic write;
  logic [TR*XW-1:0] b_narrow;
  always_comb for (int i = 0; i < TR; i++) b_narrow[i*XW +: XW] = XW'(b_codes[i]);
  always_ff @(posedge clk) begin
    write <= b_valid && b_last && rst_n;
    blocks_done <= b_valid && b_last && b_vdone && rst_n;
    if (b_valid) begin
      for (int b = 0; b < NB64; b++)
        assembly[b] <= (64*XW)'({b_narrow[b*SEG64*XW +: SEG64*XW], assembly[b]} >> (SEG64 * XW));
      written_exp <= b_exp;
      if (b_last) begin
        automatic logic [CS_AW-1:0] c = b_vfirst_block ? '0 : col;
        automatic logic [SLICE_AW-1:0] d = b_vfirst_block ? '0 : depth;
        automatic logic [4:0] m = b_vfirst_block ? '0 : max_exp;
        col_w   <= c;
        depth_w <= d;
        if (32'(c) + NB64 >= C) begin
          col   <= CS_AW'(32'(c) + NB64 - C);
          depth <= d + 1'b1;
        end else begin
          col   <= c + CS_AW'(NB64);
          depth <= d;
        end
        for (int b = 0; b < NB64; b++) if (b_exp[b] > m) m = b_exp[b];
        max_exp <= m;
      end
    end
  end

  always_comb begin
    for (int c = 0; c < C; c++) begin
      block_we[c]    = 1'b0;
      block_addr[c]  = depth_w;
      block_codes[c] = assembly[0];
      block_exp[c]   = written_exp[0];
    end
    for (int b = 0; b < NB64; b++) begin
      automatic int unsigned c = 32'(col_w) + b;
      automatic logic [SLICE_AW-1:0] d = depth_w;
      if (c >= C) begin
        c -= C;
        d += 1'b1;
      end
      block_we[c]    = write;
      block_addr[c]  = d;
      block_codes[c] = assembly[b];
      block_exp[c]   = written_exp[b];
    end
  end

  // ---------------- sum of squares and 1/rms ----------------
  logic s_valid, s_first, s_last, s_vfirst, s_vlast, v_valid_sq;
  logic [TR-1:0][15:0] s_codes;
  logic [NB64-1:0][4:0] s_exp;
  logic [V_W-1:0] energy;
  logic r_valid;
  logic [16:0] r_new;
  logic signed [6:0] half_new;
//if behind
  wire bsum_1 = vec_1.op == VEC_BSUM;
//endif
  hc_quant #(.TR(TR), .SEG(SEG64), .WPB(WPB64), .W(32), .MAG(37), .CODE_W(16), .META(2)) u_square_blocks (
//if behind
    .clk, .rst_n, .bits(5'd16), .in_valid(valid_1 && (vec_1.op == VEC_NORM || bsum_1)), .in_first(vec_1.block_first),
    .in_last(vec_1.block_last), .in_meta({vec_1.first, vec_1.last}),
    .in_word(vec_1.zero ? '0 : bsum_1 ? y_word : x_word), .out_valid(s_valid), .out_first(s_first), .out_last(s_last),
//else
    .clk, .rst_n, .bits(5'd16), .in_valid(valid_1 && vec_1.op == VEC_NORM), .in_first(vec_1.block_first),
    .in_last(vec_1.block_last), .in_meta({vec_1.first, vec_1.last}),
    .in_word(vec_1.zero ? '0 : x_word), .out_valid(s_valid), .out_first(s_first), .out_last(s_last),
//endif
    .out_meta({s_vfirst, s_vlast}), .out_codes(s_codes), .out_exp(s_exp)
  );
  logic [63:0] epsilon_n;  // of the norm under way: its squares end after the next word was loaded
//if behind
  always_ff @(posedge clk) if (valid_1 && (vec_1.op == VEC_NORM || bsum_1) && vec_1.first) epsilon_n <= epsilon;
//else
  always_ff @(posedge clk) if (valid_1 && vec_1.op == VEC_NORM && vec_1.first) epsilon_n <= epsilon;
//endif
  hc_squares #(.LANES(TR), .SEG(SEG64)) u_squares (
    .clk, .rst_n, .in_valid(s_valid), .in_first(s_vfirst), .in_last(s_vlast), .epsilon(epsilon_n), .codes(s_codes),
    .exps(s_exp), .out_valid(v_valid_sq), .v(energy)
  );
  hc_rsqrt u_rsqrt (
    .clk, .rst_n, .in_valid(v_valid_sq), .v(energy), .out_valid(r_valid), .r(r_new), .halfshift(half_new)
  );
  always_ff @(posedge clk)
    if (r_valid) begin
      r <= r_new;
      halfshift <= half_new;
    end

//if behind
  // ---------------- norms behind a matrix: x += norm(y), with 1/rms from where NORM has its own ----------------
  logic head_norm_sum_done, head_norm_apply_done, of_y, behind_sum_done, behind_done;
  always_ff @(posedge clk) begin
    if (valid_1 && (vec_1.op == VEC_NORM || bsum_1)) of_y <= bsum_1;
    behind_sum_done <= r_valid && of_y && rst_n;
  end
  hc_norm_behind u_norm_behind (
    .clk, .rst_n, .in_valid(valid_1 && vec_1.op == VEC_BADD), .vec(vec_1), .r, .halfshift, .word(y_word),
    .gain(gain_word), .residual(x_word), .we(added_we), .done(behind_done), .waddr(added_addr), .wdata(added)
  );
  assign head_sum_done   = head_norm_sum_done || behind_sum_done;
  assign head_apply_done = head_norm_apply_done || behind_done;

//endif
  // ---------------- HEAD_NORM ----------------
  if (HEAD_NORM != 0) begin : g_head_norm
    hc_head_norm u_head_norm (
      .clk, .rst_n, .sum_valid(valid_1 && vec_1.op == VEC_HSUM), .apply_valid(valid_1 && vec_1.op == VEC_HAPPLY),
//if behind
      .vec(vec_1), .epsilon(epsilon[47:0]), .word(qkv_word), .gain(gain_word), .sum_done(head_norm_sum_done),
      .we(head_we), .apply_done(head_norm_apply_done), .waddr(head_waddr), .wdata(head_wdata)
//else
      .vec(vec_1), .epsilon(epsilon[47:0]), .word(qkv_word), .gain(gain_word), .sum_done(head_sum_done),
      .we(head_we), .apply_done(head_apply_done), .waddr(head_waddr), .wdata(head_wdata)
//endif
    );
  end else begin : g_no_head_norm
//if behind
    assign {head_norm_sum_done, head_norm_apply_done, head_we, head_waddr, head_wdata} = '0;
//else
    assign {head_sum_done, head_apply_done, head_we, head_waddr, head_wdata} = '0;
//endif
  end

  // ---------------- ROPE, and one block a head ----------------
  wire rope_1  = valid_1 && vec_1.op == VEC_ROPE;
  wire angle_1 = valid_1 && vec_1.op == VEC_ANGLE;
  localparam int ANGLE_AW = (ANGLE_WORDS > 1) ? $clog2(ANGLE_WORDS) : 1;
  logic [TR-1:0][15:0] cosines[ANGLE_WORDS];
  logic [TR-1:0][15:0] sines[ANGLE_WORDS];
  logic [TR-1:0][31:0] rope_in, rope_angle;
  logic [TR-1:0][34:0] rope_out;
  logic rope_valid, rope_second, rope_is_angle, rope_angle_last;
  logic [ANGLE_AW-1:0] rope_at;
  always_comb begin
    rope_in = qkv_word;
    for (int i = 0; i < TR; i++)
      rope_angle[i] = {sines[ANGLE_AW'(vec_1.angle)][i], cosines[ANGLE_AW'(vec_1.angle)][i]};
    if (angle_1) begin
      rope_angle = angle_fine;
      for (int i = 0; i < TR; i++) begin
        automatic logic [31:0] coarse = angle_coarse[i];
        rope_in[i] = 32'($signed(vec_1.second ? coarse[31:16] : coarse[15:0]));
      end
    end
  end
  // the shift is used four cycles after the word came in; set-up and rotation never mix
  logic rope_is_setup;
  always_ff @(posedge clk) if (valid_1) rope_is_setup <= angle_1;
  hc_rope #(.TR(TR), .META(2 + ANGLE_AW)) u_rope (
    .clk, .rst_n, .in_valid(rope_1 || angle_1), .in_second(vec_1.second),
    .shift(angle_1 || rope_is_setup ? 5'd14 : 5'(ROPE_SHIFT)),
    .in_meta({angle_1, vec_1.done, ANGLE_AW'(vec_1.angle)}), .in_word(rope_in), .in_angle(rope_angle),
    .out_valid(rope_valid), .out_second(rope_second), .out_meta({rope_is_angle, rope_angle_last, rope_at}),
    .out_word(rope_out)
  );
  always_ff @(posedge clk) begin
    angle_done <= rope_valid && rope_is_angle && rope_angle_last && rst_n;
    if (rope_valid && rope_is_angle)
      for (int i = 0; i < TR; i++)
        if (rope_second) sines[rope_at][i] <= 16'(rope_out[i]);
        else cosines[rope_at][i] <= 16'(rope_out[i]);
  end

  logic [TR*32-1:0] value_6;
  logic h_valid, h_last, h_vfirst, h_vdone;
  logic [1:0] h_target;
  logic [TR*8-1:0] h_codes;
  logic [HPP-1:0][4:0] h_exp;
  logic [TR-1:0][34:0] head_in;
  hc_delay #(.W(TR * 32), .N(5)) u_value (.clk, .rst_n, .d(qkv_word), .q(value_6));
  always_comb
    for (int i = 0; i < TR; i++)
      head_in[i] = vec_6.op == VEC_VALUE ? 35'($signed(value_6[i*32 +: 32])) : rope_out[i];
  logic h_first;
  hc_quant #(.TR(TR), .SEG(SEGH), .WPB(WPBH), .W(35), .MAG(22), .CODE_W(8), .META(4)) u_heads (
    .clk, .rst_n, .bits(5'd8), .in_valid(valid_6 && (vec_6.op == VEC_VALUE || vec_6.op == VEC_ROPE)),
    .in_first(vec_6.block_first), .in_last(vec_6.block_last),
    .in_meta({vec_6.first, vec_6.done, vec_6.target}), .in_word(head_in), .out_valid(h_valid),
    .out_first(h_first), .out_last(h_last), .out_meta({h_vfirst, h_vdone, h_target}), .out_codes(h_codes),
    .out_exp(h_exp)
  );
  logic [HPP-1:0][HD*8-1:0] head_assembly;
  logic [HPP-1:0][3:0] head_exp;
  logic h_vfirst_seen;
  always_ff @(posedge clk) begin
    q_valid <= h_valid && h_last && h_target == TARGET_Q && rst_n;
    k_valid <= h_valid && h_last && h_target == TARGET_K && rst_n;
    v_valid <= h_valid && h_last && h_target == TARGET_V && rst_n;
    heads_done <= h_valid && h_last && h_vdone && rst_n;
    if (h_valid) begin
      for (int j = 0; j < HPP; j++) begin
        head_assembly[j] <= (HD*8)'({h_codes[j*SEGH*8 +: SEGH*8], head_assembly[j]} >> (SEGH * 8));
        head_exp[j] <= 4'(h_exp[j]);
      end
      if (h_first) h_vfirst_seen <= h_vfirst;
      if (h_last) group <= (h_first ? h_vfirst : h_vfirst_seen) ? '0 : group + 1'b1;
    end
  end
  for (genvar j = 0; j < HPP; j++) begin : g_heads
    assign heads[j] = {head_exp[j], head_assembly[j]};
  end
  logic unused;
  assign unused = &{1'b0, s_first, s_last};

`ifndef SYNTHESIS
  // 1/rms is there before the first row that it multiplies.
  logic norm_pending;
  always_ff @(posedge clk) begin
    norm_pending <= rst_n && ((norm_pending && !r_valid) || (valid_1 && vec_1.op == VEC_NORM));
    if (rst_n) begin
      assert (!(rows_valid && rows.normed && norm_pending)) else $error("a row came before its 1/rms");
      assert (!(embed_valid && out_valid && in_range && rows_10.dst == DST_X))
      else $error("two writes to the residual in one cycle");
      assert (!(vec_x && rows_valid_8 && rows_8.add)) else $error("two reads of the residual in one cycle");
      assert (32'(take_5) + 32'(take_7) + 32'(take_11) <= 1) else $error("two streams into the block quantiser");
    end
  end
`endif
endmodule
