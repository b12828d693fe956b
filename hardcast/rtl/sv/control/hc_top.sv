// The chip: host port, sequencer, array, one spine a user, embedding, ROMs of the spine, samplers.
module hc_top
  import hardcast_pkg::*;
(
  input  logic        clk,
  input  logic        rst_n,
  input  logic        req_valid,
  output logic        req_ready,
  input  logic [1:0]  req_op,
  input  logic [15:0] req_addr,
  input  logic [31:0] req_data,
  output logic        rsp_valid,
  input  logic        rsp_ready,
  output logic [31:0] rsp_data,
  output logic [7:0]  rsp_error
);
  logic start, want_logits, finished;
  logic [2:0] kind;
  logic [U-1:0][TOKEN_W-1:0] token;
  logic [U-1:0][POS_W-1:0]   position;
  logic [U-1:0]              active;
  logic [U-1:0][31:0]        inverse_temperature, token_out, read_logit, read_token;
  logic [U-1:0][8:0]         top_k, report_k, read_count;
  logic [U-1:0][16:0]        top_p;
  logic [U-1:0][63:0]        seed;
  logic [U-1:0][7:0]         read_index;
  hc_host u_host (
    .clk, .rst_n, .req_valid, .req_ready, .req_op, .req_addr, .req_data, .rsp_valid, .rsp_ready, .rsp_data,
    .rsp_error, .start, .want_logits, .finished, .kind, .token, .position, .active, .inverse_temperature,
    .top_k, .top_p, .seed, .report_k, .read_index, .token_out, .read_logit, .read_token, .read_count
  );

  // ---------------- sequencer ----------------
  logic [PROG_AW-1:0] prog_addr;
  logic [PROG_W-1:0]  prog_word;
  hc_rom #(.W(PROG_W), .D(PROG_D), .FILE("program.mem")) u_program (
    .clk, .en(1'b1), .addr(prog_addr), .word(prog_word)
  );
  logic  mat_valid, vec_valid, embed_valid, score, mix, chunk_first, chunk_last, sample;
  mat_t  mat;
  rows_t rows, rows_s;
  vec_t  vec;
  logic [GAIN_AW-1:0]  gain_addr;
  logic [UIDX_W-1:0]   user;
  logic [XWORD_AW-1:0] embed_word;
  logic                embed_flag, embed_done, sample_done;
  logic [FOLD_AW-1:0]  fold;
  logic [CHUNK_AW-1:0] chunk, first_chunk, last_chunk;
  logic [KV_AW-1:0]    kv_base;
  logic [POS_W-1:0]    window;
  logic [47:0]         epsilon;
  logic [U-1:0]        rows_dones, blocks_dones, heads_dones, angle_dones, head_sum_dones, head_apply_dones, score_dones, mix_dones;
  hc_seq u_seq (
    .clk, .rst_n, .start, .want_logits, .finished, .prog_addr, .prog_word, .mat_valid,
    .mat, .rows, .rows_done(rows_dones[0]), .vec_valid, .vec, .gain_addr, .user, .embed_valid, .embed_word,
    .embed_done_flag(embed_flag), .blocks_done(blocks_dones[0]), .heads_done(heads_dones[0]),
    .angle_done(|angle_dones), .head_sum_done(head_sum_dones[0]),
    .head_apply_done(head_apply_dones[0]), .embed_done, .score, .mix, .chunk_first, .chunk_last, .fold, .chunk, .kv_base,
    .window, .epsilon, .first_chunk, .last_chunk, .score_done(score_dones[0]), .mix_done(mix_dones[0]), .sample,
    .sample_done, .kind
  );

  // Users go in lockstep: attention runs over all positions that any of them sees.
  always_comb begin
    automatic logic [POS_W-1:0] most = '0;
    automatic logic [POS_W-1:0] least = '1;
    for (int u = 0; u < U; u++)
      if (active[u]) begin
        automatic logic [POS_W-1:0] low = position[u] + 1'b1 > window ? position[u] + 1'b1 - window : '0;
        if (window == 0) low = '0;
        if (position[u] > most) most = position[u];
        if (low < least) least = low;
      end
    last_chunk  = CHUNK_AW'(most / POS_W'(P));
    first_chunk = CHUNK_AW'(least / POS_W'(P));
  end

  // ---------------- array ----------------
  logic [U-1:0][C-1:0]               block_we;
  logic [U-1:0][C-1:0][SLICE_AW-1:0] block_addr;
  logic [U-1:0][C-1:0][64*XW-1:0]    block_codes;
  logic [U-1:0][C-1:0][4:0]          block_exp;
  logic [U-1:0][TR-1:0][ACC_W-1:0]   sums;
  hc_array u_array (
    .clk, .rst_n, .valid(mat_valid), .first(mat.first), .half(mat.half), .last(mat.last), .wide(mat.wide),
    .low(mat.low), .add_shift(mat.add_shift), .codebook(mat.codebook), .slice_addr(mat.slice_addr),
    .rom_addr(mat.rom_addr), .block_we, .block_addr, .block_codes, .block_exp, .sums
  );
  logic rows_valid;
  hc_delay #(.W(1), .N(ARRAY_LATENCY), .RESET(1)) u_rows_valid (.clk, .rst_n, .d(mat_valid), .q(rows_valid));
  hc_delay #(.W($bits(rows_t)), .N(ARRAY_LATENCY)) u_rows (.clk, .rst_n, .d(rows), .q(rows_s));

  // ---------------- ROMs of the spine ----------------
  logic [TR*ROWROM_W-1:0] row_word;
  logic [TR*32-1:0]       bias_word, coarse_word, fine_word;
  logic [TR*GAIN_W-1:0]   gain_word;
  hc_rom #(.W(TR * ROWROM_W), .D(ROW_D), .FILE("rows.mem")) u_row_rom (
    .clk, .en(rows_valid && rows_s.unit_final), .addr(rows_s.row_addr), .word(row_word)
  );
  if (BIAS != 0) begin : g_bias
    hc_rom #(.W(TR * 32), .D(BIAS_D), .FILE("bias.mem")) u_bias_rom (
      .clk, .en(rows_valid && rows_s.unit_final && rows_s.bias), .addr(rows_s.bias_addr), .word(bias_word)
    );
  end else begin : g_no_bias
    assign bias_word = '0;
  end
  hc_rom #(.W(TR * GAIN_W), .D(GAIN_D), .FILE("gain.mem")) u_gain_rom (
//if behind
    .clk, .en(vec_valid && (vec.op == VEC_NORM || vec.op == VEC_HAPPLY || vec.op == VEC_BADD)), .addr(gain_addr),
    .word(gain_word)
//else
    .clk, .en(vec_valid && (vec.op == VEC_NORM || vec.op == VEC_HAPPLY)), .addr(gain_addr), .word(gain_word)
//endif
  );
  wire angle = vec_valid && vec.op == VEC_ANGLE;
//if switched
  // A position's words of every table lie beside one another, and vec.base says which; beyond the last
  // it is the angle 0: cosine 1, sine 0.
  localparam int ANGLE_ROW = ANGLE_TABLES * ANGLE_WORDS;
  wire [31:0] angle_at = 32'(vec.base) + 32'(vec.angle);
  wire turned = angle_at < ANGLE_ROW;
  logic unturned;
  logic [TR*32-1:0] coarse_read, fine_read;
  always_ff @(posedge clk) if (angle) unturned <= !turned;
  assign coarse_word = unturned ? {TR{32'd16384}} : coarse_read;
  assign fine_word   = unturned ? {TR{32'd16384}} : fine_read;
  hc_rom #(.W(TR * 32), .D(COARSE_D), .FILE("rope_coarse.mem")) u_coarse (
    .clk, .en(angle && turned),
    .addr(COARSE_AW'((32'(position[user]) >> 7) * ANGLE_ROW + angle_at)), .word(coarse_read)
  );
  hc_rom #(.W(TR * 32), .D(128 * ANGLE_ROW), .FILE("rope_fine.mem")) u_fine (
    .clk, .en(angle && turned),
    .addr(FINE_AW'((32'(position[user]) & 127) * ANGLE_ROW + angle_at)), .word(fine_read)
  );
//else
  hc_rom #(.W(TR * 32), .D(COARSE_D), .FILE("rope_coarse.mem")) u_coarse (
    .clk, .en(angle),
    .addr(COARSE_AW'((32'(position[user]) >> 7) * ANGLE_WORDS + 32'(vec.angle))), .word(coarse_word)
  );
  hc_rom #(.W(TR * 32), .D(128 * ANGLE_WORDS), .FILE("rope_fine.mem")) u_fine (
    .clk, .en(angle),
    .addr(FINE_AW'((32'(position[user]) & 127) * ANGLE_WORDS + 32'(vec.angle))), .word(fine_word)
  );
//endif

  // ---------------- embedding ----------------
  logic                embed_out;
  logic [TR-1:0][31:0] embed_x;
  logic [UIDX_W-1:0]   embed_user;
  logic [XWORD_AW-1:0] embed_at;
  logic                embed_last;
  hc_embed u_embed (
    .clk, .rst_n, .valid(embed_valid), .token(active[user] ? token[user] : '0), .index(embed_word), .out_valid(embed_out), .x(embed_x)
  );
  hc_delay #(.W(UIDX_W + XWORD_AW + 1), .N(EMBED_LATENCY)) u_embed_ctl (
    .clk, .rst_n, .d({user, embed_word, embed_flag}), .q({embed_user, embed_at, embed_last})
  );
  always_ff @(posedge clk) embed_done <= embed_out && embed_last && rst_n;

  // ---------------- spines and samplers ----------------
  logic [U-1:0] sample_dones, sampled;
  for (genvar u = 0; u < U; u++) begin : g_user
    logic                logit_valid, logit_last;
    logic [WORD_AW-1:0]  logit_word;
    logic [TR-1:0][31:0] logits;
    hc_vector u_vector (
      .clk, .rst_n, .active(active[u]), .position(position[u]), .rows_valid, .rows(rows_s), .sums(sums[u]),
      .row_word, .bias_word, .rows_done(rows_dones[u]),
      .embed_valid(embed_out && embed_user == UIDX_W'(u)), .embed_word(embed_at), .embed_x,
      .vec_valid(vec_valid && (vec.op != VEC_ANGLE || user == UIDX_W'(u))), .vec, .gain_word,
      .angle_coarse(coarse_word), .angle_fine(fine_word), .epsilon(64'(epsilon)), .blocks_done(blocks_dones[u]),
      .heads_done(heads_dones[u]), .angle_done(angle_dones[u]), .head_sum_done(head_sum_dones[u]),
      .head_apply_done(head_apply_dones[u]), .score, .mix, .chunk_first, .chunk_last, .fold,
      .chunk, .kv_base, .window, .score_done(score_dones[u]), .mix_done(mix_dones[u]),
      .block_we(block_we[u]), .block_addr(block_addr[u]), .block_codes(block_codes[u]),
      .block_exp(block_exp[u]), .logit_valid, .logit_word, .logit_last, .logits
    );
    hc_sample #(.TR(TR), .VOCAB(VOCAB), .LOGIT_POINT(POINT_LOGITS), .SL(SL)) u_sample (
      .clk, .rst_n, .in_valid(logit_valid && active[u]), .in_first(logit_word == '0), .in_last(logit_last),
      .in_index(32'(logit_word) * TR), .in_word(logits), .inverse_temperature(inverse_temperature[u]),
      .top_k(top_k[u]), .top_p(top_p[u]), .seed(seed[u]), .position(64'(position[u]) + 64'd1),
      .report_k(report_k[u]), .start(sample && active[u]), .done(sample_dones[u]), .token(token_out[u]),
      .rd_index(read_index[u]), .rd_logit(read_logit[u]), .rd_token(read_token[u]), .rd_count(read_count[u])
    );
  end
  // a run's sample step ends with its slowest user
  wire all_sampled = (sampled | sample_dones | ~active) == '1;
  logic sampling;
  always_ff @(posedge clk) begin
    sampling <= rst_n && (sample || (sampling && !all_sampled));
    sampled  <= (sample || !rst_n) ? '0 : sampled | sample_dones;
    sample_done <= rst_n && sampling && all_sampled;
  end
endmodule
