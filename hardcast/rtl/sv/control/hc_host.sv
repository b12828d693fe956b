// The host port: requests in, responses out, both valid/ready; one response a request, in order.
//   op 0 read addr, 1 write addr data, 2 run (data bit 0: logits and a token are wanted)
// Addresses, see docs/rtl/hc_host.md: 0x00-0x07 digest, 0x08 U, 0x09 context, 0x0a vocab, 0x0b lanes,
// 0x10 last error, 0x20 cycles of the last run, 0x21-0x24 of them by kind of work, and from 0x100 + 32 u
// the user's: 0 token, 1 position, 2 active, 3 inverse temperature, 4 top-k, 5 top-p, 6-7 seed,
// 8 report-k, 9 token out, 10 read index, 11 its logit, 12 its token, 13 how many.
// Errors: 1 token outside the vocabulary, 2 position beyond the context, 3 no active user, 4 sampler
// setting out of range, 5 no such address, 6 no such operation.
module hc_host
  import hardcast_pkg::*;
(
  input  logic               clk,
  input  logic               rst_n,
  input  logic               req_valid,
  output logic               req_ready,
  input  logic [1:0]         req_op,
  input  logic [15:0]        req_addr,
  input  logic [31:0]        req_data,
  output logic               rsp_valid,
  input  logic               rsp_ready,
  output logic [31:0]        rsp_data,
  output logic [7:0]         rsp_error,

  output logic               start,
  output logic               want_logits,
  input  logic               finished,
  input  logic [2:0]         kind,

  output logic [U-1:0][TOKEN_W-1:0] token,
  output logic [U-1:0][POS_W-1:0]   position,
  output logic [U-1:0]              active,
  output logic [U-1:0][31:0]        inverse_temperature,
  output logic [U-1:0][8:0]         top_k,
  output logic [U-1:0][16:0]        top_p,
  output logic [U-1:0][63:0]        seed,
  output logic [U-1:0][8:0]         report_k,
  output logic [U-1:0][7:0]         read_index,
  input  logic [U-1:0][31:0]        token_out,
  input  logic [U-1:0][31:0]        read_logit,
  input  logic [U-1:0][31:0]        read_token,
  input  logic [U-1:0][8:0]         read_count
);
  logic [U-1:0][31:0] token_r, position_r, top_k_r, top_p_r, report_r;
  logic busy;
  logic [7:0] error;
  logic [31:0] cycles;
  logic [KINDS-1:0][31:0] cycles_of;

  for (genvar u = 0; u < U; u++) begin : g_user
    assign token[u]    = TOKEN_W'(token_r[u]);
    assign position[u] = POS_W'(position_r[u]);
    assign top_k[u]    = 9'(top_k_r[u]);
    assign top_p[u]    = 17'(top_p_r[u]);
    assign report_k[u] = 9'(report_r[u]);
  end

  // what a run would be refused for
  logic [7:0] refusal;
  always_comb begin
    refusal = active == '0 ? 8'd3 : 8'd0;
    for (int u = 0; u < U; u++)
      if (active[u]) begin
        if (token_r[u] >= 32'(VOCAB)) refusal = 8'd1;
        else if (position_r[u] >= 32'(CTX)) refusal = 8'd2;
        else if (inverse_temperature[u] >= 32'(1 << 20) || top_k_r[u] > 256 || report_r[u] > 256 || top_p_r[u] > 65536 || top_p_r[u] == 0)
          refusal = 8'd4;
      end
  end

  // what a read finds, four cycles after it is asked: the sampler's lists take two
  logic [15:0] read_addr;
  logic [31:0] digest;
  hc_rom #(.W(32), .D(8), .FILE("id.mem")) u_id (.clk, .en(1'b1), .addr(read_addr[2:0]), .word(digest));
  logic [2:0]  reading;
  logic [31:0] found;
  logic known;
  wire [UIDX_W-1:0] whose = UIDX_W'((read_addr - 16'h100) >> 5);
  always_comb begin
    found = '0;
    known = 1'b1;
    if (read_addr < 16'h008) found = digest;
    else if (read_addr == 16'h008) found = U;
    else if (read_addr == 16'h009) found = CTX;
    else if (read_addr == 16'h00a) found = VOCAB;
    else if (read_addr == 16'h00b) found = TR;
    else if (read_addr == 16'h010) found = 32'(error);
    else if (read_addr == 16'h020) found = cycles;
    else if (read_addr > 16'h020 && read_addr < 16'h020 + 16'(KINDS)) found = cycles_of[3'(read_addr - 16'h020)];
    else if (is_user(read_addr))
      unique case (read_addr[4:0])
        5'd0:  found = token_r[whose];
        5'd1:  found = position_r[whose];
        5'd2:  found = 32'(active[whose]);
        5'd3:  found = inverse_temperature[whose];
        5'd4:  found = top_k_r[whose];
        5'd5:  found = top_p_r[whose];
        5'd6:  found = 32'(seed[whose]);
        5'd7:  found = 32'(seed[whose] >> 32);
        5'd8:  found = report_r[whose];
        5'd9:  found = token_out[whose];
        5'd10: found = 32'(read_index[whose]);
        5'd11: found = read_logit[whose];
        5'd12: found = read_token[whose];
        5'd13: found = 32'(read_count[whose]);
        default: known = 1'b0;
      endcase
    else known = 1'b0;
  end
  function automatic logic is_user(input logic [15:0] addr);
    return addr >= 16'h100 && 32'(addr - 16'h100) < 32 * U;
  endfunction
  wire [UIDX_W-1:0] who = UIDX_W'((req_addr - 16'h100) >> 5);
  wire writable = is_user(req_addr) && req_addr[4:0] <= 5'd10 && req_addr[4:0] != 5'd9;

  assign req_ready = !busy && !rsp_valid && reading == 0;
  wire take = req_valid && req_ready;
  always_ff @(posedge clk) begin
    start <= 1'b0;
    if (!rst_n) begin
      busy       <= 1'b0;
      reading    <= '0;
      rsp_valid  <= 1'b0;
      error      <= '0;
      token_r    <= '0;
      position_r <= '0;
      active     <= U'(1);
      inverse_temperature <= '0;
      top_k_r    <= '0;
      top_p_r    <= {U{32'd65536}};
      seed       <= '0;
      report_r   <= '0;
      read_index <= '0;
      want_logits <= 1'b0;
      cycles     <= '0;
      cycles_of  <= '0;
    end else begin
      if (rsp_valid && rsp_ready) rsp_valid <= 1'b0;
      if (busy) begin
        cycles <= cycles + 1'b1;
        cycles_of[kind] <= cycles_of[kind] + 1'b1;
        if (finished) begin
          busy <= 1'b0;
          rsp_valid <= 1'b1;
          rsp_error <= '0;
          rsp_data  <= token_out[0];
          for (int u = 0; u < U; u++) if (active[u]) position_r[u] <= position_r[u] + 1'b1;
        end
      end else if (reading != 0) begin
        reading <= reading - 3'd1;
        if (reading == 3'd1) begin
          rsp_valid <= 1'b1;
          rsp_data  <= known ? found : '0;
          rsp_error <= known ? 8'd0 : 8'd5;
        end
      end else if (take) begin
        unique case (req_op)
          2'd0: begin
            read_addr <= req_addr;
            reading   <= 3'd4;
          end
          2'd1: begin
            rsp_valid <= 1'b1;
            rsp_data  <= req_data;
            rsp_error <= writable ? 8'd0 : 8'd5;
            if (writable)
              unique case (req_addr[4:0])
                5'd0: token_r[who] <= req_data;
                5'd1: position_r[who] <= req_data;
                5'd2: active[who] <= req_data[0];
                5'd3: inverse_temperature[who] <= req_data;
                5'd4: top_k_r[who] <= req_data;
                5'd5: top_p_r[who] <= req_data;
                5'd6: seed[who] <= {32'(seed[who] >> 32), req_data};
                5'd7: seed[who] <= {req_data, 32'(seed[who])};
                5'd8: report_r[who] <= req_data;
                default: read_index[who] <= req_data[7:0];
              endcase
          end
          2'd2:
            if (refusal != 0) begin
              rsp_valid <= 1'b1;
              rsp_data  <= '0;
              rsp_error <= refusal;
              error     <= refusal;
            end else begin
              busy  <= 1'b1;
              start <= 1'b1;
              error <= '0;
              want_logits <= req_data[0];
              cycles <= '0;
              cycles_of <= '0;
            end
          default: begin
            rsp_valid <= 1'b1;
            rsp_data  <= '0;
            rsp_error <= 8'd6;
          end
        endcase
      end
    end
  end

`ifndef SYNTHESIS
  // A response waits, unchanged, until it is taken.
  logic was_waiting;
  logic [39:0] was;
  always_ff @(posedge clk) begin
    was_waiting <= rst_n && rsp_valid && !rsp_ready;
    was <= {rsp_error, rsp_data};
    if (rst_n && was_waiting)
      assert (rsp_valid && was == {rsp_error, rsp_data}) else $error("response changed before it was taken");
  end
`endif
endmodule
